import pytest
import torch

from worldmodels.dynamics import BlockRSSM
from worldmodels.dynamics.base import Dynamics, select_state, stack_states

B, T, E, A, D, X, G, S, K = 3, 6, 5, 2, 12, 4, 3, 2, 5


def block_rssm():
    torch.manual_seed(0)
    rssm = BlockRSSM(E, A, stack=S, classes=K, deter=D, hidden=X, blocks=G)
    for parameter in rssm.parameters():
        # Biases and norms start at constants that would hide a mistake.
        parameter.data += 0.3 * torch.randn_like(parameter)
    return rssm


def sequence(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    embed = torch.randn(B, T, E, generator=generator, dtype=dtype)
    action = 2 * torch.randn(B, T, A, generator=generator, dtype=dtype)
    is_first = torch.zeros(B, T, dtype=torch.bool)
    is_first[1, 3] = is_first[2, 0] = True
    return embed, action, is_first


def fixed_noise(rssm, monkeypatch):
    """The same noise at every step, so that drawing it early or late cannot matter."""
    fixed = torch.linspace(0.2, 0.7, S)
    monkeypatch.setattr(
        rssm.latent, "noise", lambda shape, like: fixed.expand(*shape, S).to(like.dtype)
    )
    return fixed.tolist()


def layer(x, linear, norm):
    """Linear, RMS norm, SiLU."""
    x = x @ linear.weight.T + linear.bias
    x = x / (x.square().mean() + 1e-4).sqrt() * norm.weight
    return x * torch.sigmoid(x)


def log_probs(raw):
    mixed = 0.99 * raw.reshape(S, K).softmax(-1) + 0.01 / K
    return mixed.log().flatten()


def slow_memory(rssm, deter, stoch, action):
    """One row's next memory, block by block."""
    action = torch.stack([a / max(1.0, abs(a.item())) for a in action])
    inputs = [
        layer(deter, *rssm.memory_in[:2]),
        layer(stoch, *rssm.stoch_in[:2]),
        layer(action, *rssm.action_in[1:3]),
    ]
    size = D // G
    blocks = [slice(size * g, size * (g + 1)) for g in range(G)]
    hidden = torch.cat(
        [torch.cat([deter[own], *inputs]) @ rssm.core_in.weight[g] for g, own in enumerate(blocks)]
    )
    hidden = hidden + rssm.core_in.bias
    hidden = hidden / (hidden.square().mean() + 1e-4).sqrt() * rssm.core_norm[0].weight
    hidden = hidden * torch.sigmoid(hidden)
    after = []
    for g, own in enumerate(blocks):
        gates = hidden[own] @ rssm.gates.weight[g]
        gates = gates + rssm.gates.bias[3 * size * g : 3 * size * (g + 1)]
        reset, candidate, update = gates[:size], gates[size : 2 * size], gates[2 * size :]
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)
        after.append(update * candidate + (1 - update) * deter[own])
    return torch.cat(after)


def slow_prior(rssm, deter):
    hidden = deter
    for linear, norm, _ in rssm.prior_net.hidden:
        hidden = layer(hidden, linear, norm)
    assert len(rssm.prior_net.hidden) == 2
    return log_probs(rssm.prior_net.output(hidden))


def slow_posterior(rssm, deter, embed):
    weight = torch.cat([rssm.deter_in.weight, rssm.embed_in.weight], 1)
    hidden = torch.cat([deter, embed]) @ weight.T + rssm.deter_in.bias
    hidden = hidden / (hidden.square().mean() + 1e-4).sqrt() * rssm.posterior_norm.weight
    return log_probs(rssm.posterior_out(hidden * torch.sigmoid(hidden)))


def drawn(params, noise):
    """The class of each categorical in which the noise falls."""
    onehot = torch.zeros(S, K, dtype=params.dtype)
    for s, probs in enumerate(params.exp().reshape(S, K)):
        chosen, below = 0, probs[0].item()
        while below <= noise[s]:
            chosen += 1
            below += probs[chosen].item()
        onehot[s, chosen] = 1
    return onehot.flatten()


@torch.no_grad()
def test_observe_equals_the_written_out_loop_in_double_precision(monkeypatch):
    rssm = block_rssm().double()
    noise = fixed_noise(rssm, monkeypatch)
    embed, action, is_first = sequence(torch.float64)
    posterior, prior = rssm.observe(embed, action, is_first)
    for b in range(B):
        deter, stoch = torch.zeros(D).double(), torch.zeros(S * K).double()
        for t in range(T):
            led = action[b, t]
            if is_first[b, t]:
                deter, stoch, led = deter * 0, stoch * 0, led * 0
            deter = slow_memory(rssm, deter, stoch, led)
            torch.testing.assert_close(posterior.deter[b, t], deter)
            expected = slow_prior(rssm, deter)
            torch.testing.assert_close(prior.params[b, t], expected)
            assert torch.equal(prior.stoch[b, t], drawn(expected, noise))
            expected = slow_posterior(rssm, deter, embed[b, t])
            torch.testing.assert_close(posterior.params[b, t], expected)
            stoch = drawn(expected, noise)
            assert torch.equal(posterior.stoch[b, t], stoch)
    assert torch.equal(rssm.feature(posterior), torch.cat([posterior.deter, posterior.stoch], -1))
    assert torch.equal(prior.deter, posterior.deter)


def test_fast_loops_equal_the_base_loops(monkeypatch):
    rssm = block_rssm()
    fixed_noise(rssm, monkeypatch)
    embed, action, is_first = sequence()
    fast, slow = (
        rssm.observe(embed, action, is_first),
        Dynamics.observe(rssm, embed, action, is_first),
    )
    for ours, reference in zip((*fast[0], *fast[1]), (*slow[0], *slow[1]), strict=True):
        torch.testing.assert_close(ours, reference)
    start = select_state(fast[0], (slice(None), -1))
    predicted = rssm.predict(start, action)
    slow = stack_states(list(Dynamics.predict_steps(rssm, start, action)), 1)
    for ours, reference in zip(predicted, slow, strict=True):
        torch.testing.assert_close(ours, reference)


def test_actions_beyond_their_range_count_as_its_ends():
    rssm, state = block_rssm(), block_rssm().initial(1)
    near, far = torch.tensor([[1.0, -0.5]]), torch.tensor([[7.0, -0.5]])
    found = [rssm(state.deter, state.stoch, action)[0] for action in (near, far)]
    assert torch.equal(*found)
    # The divisor is a constant: the gradient does not vanish.
    far.requires_grad_()
    rssm(state.deter, state.stoch, far)[0].square().sum().backward()
    assert far.grad[0, 0] != 0


@torch.no_grad()
def test_plans_of_a_start_meet_the_same_noise():
    rssm = block_rssm()
    starts = rssm.plan_starts(rssm.initial(2), 3)
    stoch = rssm.predict(starts, torch.ones(6, 4, A), plans=3).stoch.unflatten(0, (2, 3))
    torch.testing.assert_close(stoch, stoch[:, :1].expand_as(stoch))
    assert not torch.equal(stoch[0], stoch[1])


@torch.no_grad()
def test_planning_in_bfloat16_keeps_the_memory_in_full_precision(monkeypatch):
    rssm = block_rssm()
    fixed_noise(rssm, monkeypatch)
    start, (_, actions, _) = rssm.initial(B), sequence()
    exact = list(Dynamics.predict_steps(rssm, start, actions))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = list(rssm.predict_steps(start, actions))
    assert all(state.deter.dtype == torch.float32 for state in rounded)
    torch.testing.assert_close(rounded[0].deter, exact[0].deter, rtol=0, atol=0.05)


def test_every_layer_begins_by_its_fan_in():
    torch.manual_seed(0)
    rssm = BlockRSSM(500, A, stack=8, classes=8, deter=400, hidden=200, blocks=4)
    fans = {
        "memory_in.0": 400, "stoch_in.0": 64, "core_in": 400 + 4 * 600, "gates": 400,
        "deter_in": 900, "embed_in": 900, "posterior_out": 200, "prior_net.output": 200,
    }  # fmt: skip
    for name, fan_in in fans.items():
        weight = rssm.get_submodule(name).weight
        assert weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.03), name
        assert weight.abs().max().item() <= 2 * fan_in**-0.5 / 0.8796 + 1e-6, name
    for name, parameter in rssm.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name


def test_a_memory_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="deter=100 does not divide into blocks=8"):
        BlockRSSM(E, A, deter=100)
