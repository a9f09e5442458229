from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from worldmodels.dynamics import Dynamics, GaussianRSSM
from worldmodels.nn.augment import randomly_shifted
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import Head
from worldmodels.nn.pixels import Centered, HalfRange, Standardized
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


class Priced(Walk):
    """Two rows of two steps, whose KLs are parameters: those after the frame less those before."""

    def __init__(self, embed_dim, action_dim):
        super().__init__(embed_dim, action_dim)
        self.after = nn.Parameter(double([[[0.5], [3.0]], [[1.5], [0.6]]]))
        self.before = nn.Parameter(double([[[0.1], [0.5]], [[0.3], [0.2]]]))

    def observe(self, embed, action, is_first, state=None):
        return Position(self.after), Position(self.before)

    def kl(self, posterior, prior):
        return (posterior.x - prior.x)[..., 0]


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


def tiny(**options):
    return WorldModel(
        SHAPE,
        ActionSpace(1, False),
        encoder=partial(ConvEncoder, depth=4),
        decoder=partial(ConvDecoder, depth=4),
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
        torch.testing.assert_close(getattr(found, name), getattr(dream, name))
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


def test_total_is_the_weighted_sum_of_the_parts():
    model = tiny(reward_weight=3.0, continue_weight=0.0, free_nats=0.0)
    losses, _ = model.loss(batch())
    parts = {name: losses.metrics[f"loss/{name}"] for name in model.weights}
    expected = sum(model.weights[name] * parts[name] for name in parts)
    torch.testing.assert_close(losses.total.detach(), expected)
    torch.testing.assert_close(parts["dynamics"], parts["representation"])


def test_free_nats_stop_the_gradient_of_a_small_kl():
    model = tiny(free_nats=1e6, image_weight=0.0, reward_weight=0.0, continue_weight=0.0)
    losses, _ = model.loss(batch())
    losses.total.backward()
    gradients = [p.grad for p in model.dynamics.parameters() if p.grad is not None]
    assert all(gradient.abs().max() == 0 for gradient in gradients)


def test_free_nats_and_balance_by_hand():
    model = walker(
        Priced, image_weight=0.0, reward_weight=0.0, continue_weight=0.0, free_nats=1.0,
        dynamics_weight=0.8, representation_weight=0.2,
    )  # fmt: skip
    model.decoder.double()
    losses = model.loss(batch(rows=2, steps=2))[0]
    losses.total.backward()
    # KLs of 0.4 and 2.5, and of 1.2 and 0.4: each step alone counts 1 nat or more.
    counted = (1 + 2.5 + 1.2 + 1) / 4
    assert losses.metrics["loss/dynamics"].item() == pytest.approx(counted, rel=1e-12)
    assert losses.metrics["loss/representation"].item() == pytest.approx(counted, rel=1e-12)
    assert losses.metrics["kl"].item() == pytest.approx(4.5 / 4, rel=1e-12)
    assert losses.total.item() == pytest.approx((0.8 + 0.2) * counted, rel=1e-12)
    # Only where it costs does a KL teach, the prior by one weight and the posterior by the other.
    costs = double([[0, 1], [1, 0]]) / 4
    prior, posterior = model.dynamics.before.grad[..., 0], model.dynamics.after.grad[..., 0]
    torch.testing.assert_close(prior, -0.8 * costs, rtol=1e-12, atol=0)
    torch.testing.assert_close(posterior, 0.2 * costs, rtol=1e-12, atol=0)


def test_balance_trains_prior_and_posterior_apart():
    model = tiny(
        free_nats=0.0,
        image_weight=0.0,
        reward_weight=0.0,
        continue_weight=0.0,
        representation_weight=0.0,
    )
    losses, _ = model.loss(batch())
    losses.total.backward()
    assert model.dynamics.prior_net.output.weight.grad.abs().max() > 0
    assert model.dynamics.posterior_out.weight.grad is not None
    # Only through the memory's path may the posterior move: its last step has no successor.
    one = model.loss(batch(steps=1))[0]
    model.zero_grad()
    one.total.backward()
    grad = model.dynamics.posterior_out.weight.grad
    assert grad is None or grad.abs().max() == 0


def test_decoding_a_share_of_the_steps_is_unbiased():
    torch.manual_seed(0)
    model = tiny(image_fraction=0.25)
    data = batch(rows=2, steps=8)
    feature = torch.randn(2, 8, model.dynamics.feature_dim)
    whole = tiny(image_fraction=1.0)
    whole.load_state_dict(model.state_dict())
    full = whole._image_loss(feature, data.obs)[0].mean()
    parts = torch.stack([model._image_loss(feature, data.obs)[0].mean() for _ in range(300)])
    assert abs(parts.mean() - full) < 4 * parts.std() / 300**0.5


def test_shifted_frames_are_seen_and_drawn_alike():
    shifted, plain = tiny(shift=2), tiny()
    plain.load_state_dict(shifted.state_dict())
    data = batch(rows=2, steps=4)
    data = data._replace(obs=torch.randint(256, data.obs.shape, dtype=torch.uint8))
    torch.manual_seed(0)
    moved = randomly_shifted(data.obs, 2)
    expected = plain.loss(data._replace(obs=moved))[0]
    torch.manual_seed(0)
    found = shifted.loss(data)[0]
    assert not torch.equal(moved, data.obs)
    torch.testing.assert_close(found.total, expected.total)
    assert torch.equal(shifted.encode(data.obs), plain.encode(data.obs))


def test_actions_line_up_with_the_rewards_they_cause():
    """Reward on arrival equals the action taken: only an unshifted model can learn it."""
    torch.manual_seed(0)
    model = tiny(reward_weight=10.0, image_weight=0.01, discount=1.0)
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


def test_bytes_survive_the_pixel_scaling():
    obs = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    centered, standardized = Centered(SHAPE), Standardized(SHAPE)
    centered.fit(obs)
    standardized.fit(obs)
    for pixels in (centered, standardized, HalfRange(SHAPE)):
        torch.testing.assert_close(pixels.inverse(pixels(obs)), obs)
    assert centered(obs).mean(0).abs().max() < 1e-5


def test_rare_and_frequent_changes_weigh_the_same_once_standardized():
    obs = torch.zeros(100, *SHAPE, dtype=torch.uint8)
    obs[:4, 0, 3, 5] = 200  # a ball: there in 4 frames of 100
    obs[:50, 0, 8, 1] = 200  # a paddle: there in half of them
    obs[0, 0, 9, 9] = 1  # noise of one grey level
    pixels = Standardized(SHAPE, scale=2.0)
    pixels.fit(obs)
    power = pixels(obs).square().mean(0)[0]
    torch.testing.assert_close(power[[3, 8], [5, 1]], torch.tensor([4.0, 4.0]))
    assert power[9, 9] < 0.01
    assert power[0, 0] == 0


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"floor": -1.0}])
def test_standardized_names_a_number_that_does_not_fit(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}="):
        Standardized(SHAPE, **options)


def test_decode_clips_to_bytes():
    pixels = HalfRange(SHAPE)
    image = torch.tensor([-2.0, 2.0, 0.0])[:, None, None, None].expand(3, *SHAPE)
    assert pixels.inverse(image)[:, 0, 0, 0].tolist() == [0, 255, 128]


@pytest.mark.parametrize(
    "options", [{"discount": 0.0}, {"discount": 1.5}, {"image_fraction": 0.0}, {"shift": -1}]
)
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
