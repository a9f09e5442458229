import pytest
import torch

from worldmodels.dynamics import CategoricalRSSM, GaussianRSSM
from worldmodels.dynamics.base import Dynamics, select_state, stack_states

B, T, E, A = 3, 6, 5, 2


def small_rssms():
    torch.manual_seed(0)
    return [
        GaussianRSSM(E, A, stoch=4, deter=8, hidden=8),
        CategoricalRSSM(E, A, stack=3, classes=4, deter=8, hidden=8),
    ]


def fixed_noise(dynamics, monkeypatch, *, lowest=0.1):
    """The same noise at every step, so that drawing it early or late cannot matter."""
    width = dynamics.latent.noise((1,), torch.zeros(1)).shape[-1]
    fixed = torch.where(torch.arange(width) % 2 == 0, lowest, 1 - lowest)
    monkeypatch.setattr(
        dynamics.latent, "noise", lambda shape, like: fixed.expand(*shape, width).to(like.dtype)
    )


def sequence(resets=((1, 3), (2, 0))):
    generator = torch.Generator().manual_seed(1)
    embed = torch.randn(B, T, E, generator=generator)
    action = torch.randn(B, T, A, generator=generator)
    is_first = torch.zeros(B, T, dtype=torch.bool)
    for row, step in resets:
        is_first[row, step] = True
    return embed, action, is_first


@pytest.mark.parametrize("index", [0, 1])
def test_fast_observe_equals_the_base_loop(index, monkeypatch):
    dynamics = small_rssms()[index]
    fixed_noise(dynamics, monkeypatch)
    embed, action, is_first = sequence()
    fast = dynamics.observe(embed, action, is_first)
    slow = Dynamics.observe(dynamics, embed, action, is_first)
    for ours, reference in zip((*fast[0], *fast[1]), (*slow[0], *slow[1]), strict=True):
        torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("index", [0, 1])
def test_fast_predict_equals_the_base_loop(index, monkeypatch):
    dynamics = small_rssms()[index]
    fixed_noise(dynamics, monkeypatch)
    embed, action, is_first = sequence()
    start = select_state(dynamics.observe(embed, action, is_first)[0], (slice(None), -1))
    fast = dynamics.predict(start, action)
    slow = stack_states(list(Dynamics.predict_steps(dynamics, start, action)), 1)
    for ours, reference in zip(fast, slow):
        torch.testing.assert_close(ours, reference)


@torch.no_grad()
@pytest.mark.parametrize("index", [0, 1])
def test_plans_of_a_start_meet_the_same_noise_and_starts_meet_their_own(index):
    dynamics = small_rssms()[index]
    starts, steps = dynamics.plan_starts(dynamics.initial(2), 3), 4
    actions = torch.ones(6, steps, A)
    stoch = dynamics.predict(starts, actions, plans=3).stoch.unflatten(0, (2, 3))
    torch.testing.assert_close(stoch, stoch[:, :1].expand_as(stoch))
    assert not torch.allclose(stoch[0], stoch[1])
    assert not torch.allclose(stoch[:, :, 0], stoch[:, :, 1])
    # Without plans every row has its own.
    alone = dynamics.predict(starts, actions).stoch
    assert len(alone.flatten(1).unique(dim=0)) == 6


@torch.no_grad()
@pytest.mark.parametrize("index", [0, 1])
def test_predict_steps_in_bfloat16_equals_the_base_loop_but_for_rounding(index, monkeypatch):
    dynamics = small_rssms()[index]
    # Beyond all but the outer classes: rounding changes no draw.
    fixed_noise(dynamics, monkeypatch, lowest=0.001)
    start, (_, actions, _) = dynamics.initial(B), sequence()
    exact = list(Dynamics.predict_steps(dynamics, start, actions))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = list(dynamics.predict_steps(start, actions))
    for ours, reference in zip(rounded, exact, strict=True):
        assert ours.deter.dtype == ours.stoch.dtype == torch.bfloat16
        torch.testing.assert_close(ours.deter.float(), reference.deter, rtol=0, atol=0.02)
        torch.testing.assert_close(ours.stoch.float(), reference.stoch, rtol=0, atol=0.06)


@pytest.mark.parametrize("index", [0, 1])
def test_a_reset_forgets_state_and_action(index, monkeypatch):
    dynamics = small_rssms()[index]
    fixed_noise(dynamics, monkeypatch)
    embed, action, is_first = sequence(resets=((0, 3), (1, 3), (2, 3)))
    joined = dynamics.observe(embed, action, is_first)[0]
    fresh_action = action[:, 3:].clone()
    fresh_action[:, 0] = 0
    fresh = dynamics.observe(embed[:, 3:], fresh_action, is_first[:, 3:])[0]
    torch.testing.assert_close(joined.stoch[:, 3:], fresh.stoch)
    torch.testing.assert_close(joined.deter[:, 3:], fresh.deter)


@pytest.mark.parametrize("index", [0, 1])
def test_a_given_state_continues_a_sequence(index, monkeypatch):
    dynamics = small_rssms()[index]
    fixed_noise(dynamics, monkeypatch)
    embed, action, is_first = sequence()
    whole = dynamics.observe(embed, action, is_first)[0]
    first = dynamics.observe(embed[:, :2], action[:, :2], is_first[:, :2])[0]
    last = select_state(first, (slice(None), -1))
    second = dynamics.observe(embed[:, 2:], action[:, 2:], is_first[:, 2:], last)[0]
    torch.testing.assert_close(whole.deter[:, 2:], second.deter)
    torch.testing.assert_close(whole.stoch[:, 2:], second.stoch)


def test_prior_does_not_see_the_frame_and_the_posterior_does():
    dynamics = small_rssms()[0]
    embed, action, is_first = sequence(resets=())
    changed = embed.clone()
    changed[:, 2] += 1
    torch.manual_seed(3)
    posterior, prior = dynamics.observe(embed, action, is_first)
    torch.manual_seed(3)
    changed_posterior, changed_prior = dynamics.observe(changed, action, is_first)
    torch.testing.assert_close(prior.params[:, :3], changed_prior.params[:, :3])
    assert (posterior.params[:, 2] - changed_posterior.params[:, 2]).abs().max() > 1e-3
    assert (prior.params[:, 3] - changed_prior.params[:, 3]).abs().max() > 1e-4


def test_memory_follows_the_written_out_equations():
    dynamics = small_rssms()[0]
    state = dynamics.initial(B)._replace(deter=torch.randn(B, 8), stoch=torch.randn(B, 4))
    action = torch.randn(B, A)
    joined = dynamics.stoch_in(state.stoch) + action @ dynamics.action_in.weight.T
    hidden = torch.nn.functional.silu(dynamics.input_norm(joined))
    gates = dynamics.cell.norm(
        hidden @ dynamics.cell.from_input.weight.T
        + state.deter @ dynamics.cell.from_hidden.weight.T
    )
    reset, candidate, update = gates.split(8, -1)
    update = torch.sigmoid(update - 1)
    expected = update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * state.deter
    torch.testing.assert_close(dynamics.prior(state, action).deter, expected)


def test_every_layer_starts_as_a_truncated_normal_of_its_fan_in():
    torch.manual_seed(0)
    dynamics = GaussianRSSM(300, 300, stoch=300, deter=300, hidden=300)
    # One product cut in two for the gates: both halves count towards the fan-in.
    halves = {"cell.from_input.weight", "cell.from_hidden.weight"}
    matrices = {n: p.detach() for n, p in dynamics.named_parameters() if p.dim() == 2}
    assert len(matrices) == 9
    for name, weight in matrices.items():
        unit = (weight.shape[1] * (2 if name in halves else 1)) ** -0.5
        assert weight.std() == pytest.approx(unit, rel=0.02), name
        assert weight.abs().max() <= 2.001 * unit / 0.87962566, name
    for name, bias in dynamics.named_parameters():
        if name.endswith("bias"):
            assert not bias.detach().any(), name
