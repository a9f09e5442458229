import copy

import pytest
import torch
from tiny_model import Model, Position, batch_of, seen
from torch import nn

from worldmodels.losses import LatentConsistency
from worldmodels.losses.consistency import windows


def made(model, **options):
    """Predicted features are read as embeddings, without a network between."""
    term = LatentConsistency(**options)
    term.setup(model)
    term.predictor = nn.Identity()
    return term


def slow_loss(batch, posterior, horizon, rho):
    """The weighted mean over all pairs of a start and a step within its episode, in float64."""
    rows, steps = batch.reward.shape
    frames = batch.obs.double()[..., 0, 0, :2]
    flat = frames.reshape(-1, 2)
    frames = (frames - flat.mean(0)) / (flat.var(0, correction=0) + 1e-5).sqrt()
    total, weights = 0.0, 0.0
    for b in range(rows):
        for t in range(steps):
            x = posterior[b, t].double()
            for k in range(1, horizon + 1):
                if t + k >= steps or batch.is_first[b, t + k]:
                    break
                x = x + batch.action[b, t + k]
                total += rho ** (k - 1) * float((x - frames[b, t + k]).square().mean())
                weights += rho ** (k - 1)
    return total / weights


@pytest.mark.parametrize("horizon", [1, 3, 9])
def test_loss_by_the_slow_sums_within_episodes(horizon):
    model, batch = Model(), batch_of(3, 6)
    batch.is_first[0, 3] = batch.is_first[1, 1] = batch.is_first[1, 4] = True
    observed = seen(batch)
    parts = made(model, horizon=horizon, rho=0.7)(model, batch, observed)
    expected = slow_loss(batch, observed.posterior.x.detach(), horizon, 0.7)
    assert parts["consistency"].shape == (3, 6)
    assert parts["consistency"].mean().item() == pytest.approx(expected, rel=1e-5)


def test_futures_end_where_an_episode_or_the_batch_ends():
    action = torch.arange(1.0, 6.0).reshape(1, 5, 1)
    is_first = torch.tensor([[True, False, False, True, False]])
    actions, valid = LatentConsistency(horizon=2).futures(action, is_first)
    assert actions[0, :, :, 0].tolist() == [[2, 3], [3, 4], [4, 5], [5, 0], [0, 0]]
    assert valid[0].int().tolist() == [[1, 1], [1, 0], [0, 0], [1, 0], [0, 0]]


def test_windows_hold_what_comes_after_each_step():
    x = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])
    assert windows(x, 2)[0].tolist() == [
        [[2, 20], [3, 30]],
        [[3, 30], [0, 0]],
        [[0, 0], [0, 0]],
    ]


def test_frames_that_begin_an_episode_are_no_targets():
    model, batch = Model(), batch_of(2, 4)
    batch.is_first[:] = True
    observed = seen(batch)
    loss = made(model)(model, batch, observed)["consistency"]
    assert loss.tolist() == [[0.0] * 4] * 2
    loss.mean().backward()
    assert observed.feature.grad.abs().max() == 0


def test_starts_learn_and_targets_do_not():
    model, batch = Model(), batch_of(2, 4)
    observed = seen(batch)
    term = made(model, horizon=2)
    parts = term(model, batch, observed)
    parts["consistency"].mean().backward()
    assert observed.feature.grad[:, :3].abs().min() > 0
    assert observed.feature.grad[:, 3].abs().max() == 0
    assert observed.embed.grad is None
    assert model.encoder.scale.grad is None
    assert term.slow_encoder.scale.grad is None
    assert not term.slow_encoder.scale.requires_grad
    assert not parts["embed_std"].requires_grad


def test_an_untrained_predictor_answers_the_mean_and_costs_one():
    model, batch = Model(), batch_of(4, 16)
    term = LatentConsistency(horizon=1)
    term.setup(model)
    loss = term(model, batch, seen(batch))["consistency"].mean().item()
    # The first frames are in the standardized batch, but no targets.
    assert loss == pytest.approx(1.0, abs=0.1)


def test_the_slow_encoder_follows_the_encoder_by_tau():
    model = Model()
    term = made(model, tau=0.25)
    model.encoder.scale.data.fill_(5.0)
    term.update_target()
    assert term.slow_encoder.scale.item() == 1.0 + 0.25 * 4.0
    term.update_target()
    assert term.slow_encoder.scale.item() == 2.0 + 0.25 * 3.0


def test_the_model_stays_one_of_its_kind():
    model = Model()
    model.term = made(model, tau=1.0)
    # The encoder is listed once, its slow copy beside it.
    assert sorted(model.state_dict()) == ["encoder.scale", "term.slow_encoder.scale"]
    other = copy.deepcopy(model)
    other.encoder.scale.data.fill_(3.0)
    other.term.update_target()
    assert other.term.slow_encoder.scale.item() == 3.0
    assert model.term.slow_encoder.scale.item() == 1.0


def test_an_embedding_that_collapsed_is_seen():
    model, batch = Model(), batch_of(2, 4)
    observed = seen(batch)
    equal = observed._replace(embed=torch.ones_like(observed.embed))
    term = made(model)
    assert term(model, batch, observed)["embed_std"].mean() > 0.1
    assert term(model, batch, equal)["embed_std"].mean().item() == pytest.approx(0, abs=1e-6)


def test_the_error_stays_in_float32_under_autocast():
    model, batch = Model(), batch_of(2, 4)
    term = LatentConsistency(hidden=4)
    term.setup(model)
    nn.init.normal_(term.predictor.output.weight)
    observed = seen(batch)
    expected = term(model, batch, observed)["consistency"]
    with torch.autocast("cpu", torch.bfloat16):
        parts = term(model, batch, observed)
    assert all(part.dtype == torch.float32 for part in parts.values())
    torch.testing.assert_close(parts["consistency"], expected)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"horizon": 0}, "LatentConsistency: horizon=0: choose 1 or more"),
        ({"rho": 0.0}, "LatentConsistency: rho=0.0: choose a number above 0"),
        ({"tau": 1.5}, "LatentConsistency: tau=1.5: choose at most 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        LatentConsistency(**options)


def test_states_are_those_of_any_dynamics():
    """A start per row and step, in the order of the batch."""
    model, batch = Model(), batch_of(2, 3)
    taken = []
    predict = model.dynamics.predict
    model.dynamics.predict = lambda state, actions: (
        taken.append((state, actions)) or predict(state, actions)
    )
    observed = seen(batch)
    made(model, horizon=2)(model, batch, observed)
    ((state, actions),) = taken
    assert isinstance(state, Position)
    torch.testing.assert_close(state.x, observed.posterior.x.flatten(0, 1))
    torch.testing.assert_close(actions[1, 0], batch.action[0, 2])
    torch.testing.assert_close(actions[3], batch.action[1, 1:3])
