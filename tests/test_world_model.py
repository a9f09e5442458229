from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from worldmodels.dynamics import Dynamics, GaussianRSSM
from worldmodels.losses import BalancedKL, Continues, Reconstruction, Reward
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import Head
from worldmodels.planning.objectives import LearnedReward
from worldmodels.types import ActionSpace, Batch
from worldmodels.world_model import WorldModel

SHAPE = (3, 16, 16)


class Position(NamedTuple):
    x: Tensor


class Walk(Dynamics):
    """x moves by the action: every prediction can be done by hand."""

    def __init__(self, embed_dim, action_dim):
        super().__init__()
        self.feature_dim = 1

    def initial(self, batch):
        return Position(torch.zeros(batch, 1))

    def prior(self, state, action):
        return Position(state.x + action)

    def posterior(self, prior, embed):
        return prior

    def kl(self, posterior, prior):
        return posterior.x[..., 0] * 0

    def feature(self, state):
        return state.x


class Identity(Head):
    def __init__(self, feature_dim):
        super().__init__()

    def forward(self, feature):
        return feature[..., 0]

    def loss(self, feature, target):
        return feature[..., 0] - target


class HalfBelowZero(Identity):
    """Continues surely at x >= 0, with probability 1/2 below."""

    def forward(self, feature):
        return 1 - 0.5 * (feature[..., 0] < 0).to(feature.dtype)


def double(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def walker(dynamics=Walk, discount=0.9, **options):
    return WorldModel(
        SHAPE,
        ActionSpace(1, False),
        encoder=partial(ConvEncoder, depth=2),
        decoder=partial(ConvDecoder, depth=2),
        dynamics=dynamics,
        reward=Identity,
        continues=HalfBelowZero,
        discount=discount,
        **options,
    )


def tiny(decoder=partial(ConvDecoder, depth=4), **options):
    return WorldModel(
        SHAPE,
        ActionSpace(1, False),
        encoder=partial(ConvEncoder, depth=4),
        decoder=decoder,
        dynamics=partial(GaussianRSSM, stoch=4, deter=16, hidden=16),
        **options,
    )


def batch(rows=4, steps=8):
    generator = torch.Generator().manual_seed(0)
    level = torch.randint(0, 256, (rows, steps, 1, 1, 1), generator=generator)
    first = torch.zeros(rows, steps, dtype=torch.bool)
    first[:, 0] = True
    action = torch.rand(rows, steps, 1, generator=generator) * 2 - 1
    action[:, 0] = 0
    return Batch(
        level.expand(rows, steps, *SHAPE).to(torch.uint8).contiguous(),
        action,
        action[..., 0].clone(),
        first,
        torch.zeros(rows, steps, dtype=torch.bool),
    )


def test_score_adds_discounted_rewards_on_arrival():
    start = Position(double([[1.0]]))
    actions = double([[[[1.0], [2.0], [-1.0]], [[-2.0], [0.0], [3.0]]]])
    # Plan 1 visits 2, 4, 3. Plan 2 visits -1, -1, 2: after each step below zero half survives.
    first = 2 + 0.9 * 4 + 0.81 * 3
    second = -1 + (0.9 * 0.5) * -1 + (0.9 * 0.5) ** 2 * 2
    scores = walker().score(start, actions)
    torch.testing.assert_close(scores, double([[first, second]]), rtol=1e-12, atol=0)


def test_score_adds_the_value_that_is_reached():
    start = Position(double([[0.0]]))
    actions = double([[[[1.0], [-2.0]]]])
    # Visits 1, -1; the value of -1 counts with discount 0.9 * (0.9 * 0.5).
    expected = 1 + 0.9 * -1 + 0.9 * 0.45 * 100 * -1
    scores = walker().score(start, actions, value=lambda feature: 100 * feature[..., 0])
    torch.testing.assert_close(scores, double([[expected]]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("value", [None, lambda feature: feature.sum(-1)])
def test_scores_read_step_by_step_equal_those_of_the_whole_trajectory(value):
    model = tiny()
    with torch.no_grad():
        for head in (model.reward, model.continues):
            head.net.output.weight.normal_()
    state = model.dynamics.initial(2)
    actions = torch.rand(2, 5, 4, model.action_space.dim)
    torch.manual_seed(3)
    starts = model.dynamics.plan_starts(state, 5)
    feature = model.feature(model.dynamics.predict(starts, actions.flatten(0, 1), plans=5))
    reward, discount = model.reward(feature), 0.99 * model.continues(feature)
    expected, weight = torch.zeros(10), torch.ones(10)
    for step in range(4):
        expected = expected + weight * reward[:, step]
        weight = weight * discount[:, step]
    if value is not None:
        expected = expected + weight * value(feature[:, -1])
    torch.manual_seed(3)
    found = model.score(state, actions, value)
    torch.testing.assert_close(found.flatten(), expected)
    torch.manual_seed(3)
    whole = model.score(state, actions, value, objective=LearnedReward())
    torch.testing.assert_close(whole, found)


def test_scores_in_bfloat16_rank_plans_as_in_float32():
    model = tiny()
    with torch.no_grad():
        model.reward.net.output.weight.normal_()
    actions = torch.rand(1, 64, 4, model.action_space.dim) * 2 - 1
    scores = []
    for enabled in (False, True):
        torch.manual_seed(3)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            scores.append(model.score(model.dynamics.initial(1), actions)[0].float())
    exact, rounded = scores
    assert 0 < (exact - rounded).abs().max() < 0.1 * exact.std() + 0.02 * exact.abs().max()
    assert torch.corrcoef(torch.stack(scores))[0, 1] > 0.99


def test_score_keeps_states_and_candidates_apart():
    starts = Position(torch.tensor([[0.0], [10.0]]))
    actions = torch.tensor([[[[1.0]], [[2.0]], [[3.0]]], [[[4.0]], [[5.0]], [[6.0]]]])
    scores = walker().score(starts, actions)
    torch.testing.assert_close(scores, torch.tensor([[1.0, 2, 3], [14, 15, 16]]))


def test_imagine_follows_the_policy_on_the_state_it_is_in():
    imagined = walker().imagine(Position(double([[1.0]])), lambda feature: feature, 3)
    assert imagined.feature[0, :, 0].tolist() == [1, 2, 4, 8]
    assert imagined.action[0, :, 0].tolist() == [1, 2, 4]
    assert imagined.reward[0].tolist() == [2, 4, 8]
    assert imagined.discount[0].tolist() == [0.9, 0.9, 0.9]


def test_predict_equals_imagine_under_the_same_actions():
    model = walker()
    start = Position(torch.tensor([[1.0]]))
    imagined = model.imagine(start, lambda feature: feature, 3)
    found = model.predict(start, imagined.action)
    for name in ("feature", "action", "reward", "discount"):
        torch.testing.assert_close(getattr(found, name), getattr(imagined, name))
    assert found.start.x.tolist() == imagined.start.x.tolist() == [[1]]
    assert found.states.x.tolist() == imagined.states.x.tolist() == [[[2], [4], [8]]]


def test_filter_is_one_step_of_observe():
    model, data = tiny(), batch(rows=2, steps=3)
    torch.manual_seed(1)
    whole = model.observe(data.obs[:, :1], data.action[:, :1], data.is_first[:, :1]).posterior
    torch.manual_seed(1)
    state = model.filter(
        data.obs[:, 0], data.action[:, 0], data.is_first[:, 0], model.dynamics.initial(2)
    )
    torch.testing.assert_close(whole.stoch[:, 0], state.stoch)


@pytest.mark.usefixtures("without_shape_checks")
def test_actions_line_up_with_the_rewards_they_cause():
    """Reward on arrival equals the action taken: only an unshifted model can learn it."""
    torch.manual_seed(0)
    model = tiny(
        terms=(Reconstruction(0.01), Reward(10.0), Continues(), BalancedKL()), discount=1.0
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    data = batch(rows=16, steps=12)
    for _ in range(200):
        losses, posterior = model.loss(data)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    start = type(posterior)(*(field[:, 0].detach() for field in posterior))
    predicted = model.predict(start, data.action[:, 1:]).reward
    error = (predicted - data.reward[:, 1:]).abs().mean()
    shifted = (predicted[:, 1:] - data.reward[:, 1:-1]).abs().mean()
    assert error < 0.15
    assert shifted > 3 * error


@pytest.mark.parametrize("options", [{"discount": 0.0}, {"discount": 1.5}, {"pad": -1}])
def test_options_out_of_range_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}="):
        tiny(**options)


def test_the_discount_is_not_rounded_where_products_are():
    model = WorldModel((3, 16, 16), ActionSpace(2, False), discount=0.99)
    model.continues.net.output.bias.data.fill_(50.0)
    feature = torch.zeros(1, model.dynamics.feature_dim)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.discounts(feature).item() == pytest.approx(0.99, abs=1e-6)
