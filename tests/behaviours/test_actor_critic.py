from functools import partial

import pytest
import torch
from known_worlds import (
    aim,
    chain,
    everywhere_on_the_chain,
    optimal_chain_values,
    pixel_model,
    pixels,
    replayed,
    train,
)

from worldmodels.behaviours import ActorCritic, DynamicsBackprop, Reinforce
from worldmodels.behaviours.actors import BoundedNormalActor
from worldmodels.behaviours.base import all_starts, detached, sample_starts
from worldmodels.behaviours.critic import Critic
from worldmodels.dynamics import CategoricalRSSM, EnsembleRSSM, GaussianRSSM
from worldmodels.dynamics.base import select_state
from worldmodels.nn.blocks import RMSNorm
from worldmodels.nn.distributions import OneHotStraightThrough
from worldmodels.planning.objectives import Curiosity, FeatureObjective
from worldmodels.types import ActionSpace, Batch

QUICK = {"hidden": 32, "layers": 1, "actor_learning_rate": 1e-2, "critic_learning_rate": 1e-2}
LATENTS = [
    partial(GaussianRSSM, stoch=4, deter=8, hidden=8),
    partial(CategoricalRSSM, stack=2, classes=4, deter=8, hidden=8),
]


def actor_critic(model, space, gradient, **options):
    torch.manual_seed(1)
    options = {"horizon": 4, "hidden": 8, "layers": 1, "entropy_coef": 0.1} | options
    behaviour = ActorCritic(model.feature_dim, space, gradient, **options)
    for parameter in behaviour.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return behaviour


def imagined(behaviour, model, batch, posterior, seed=0):
    """Start states and the trajectory that the loss imagines after the same seed."""
    torch.manual_seed(seed)
    starts = sample_starts(batch, posterior, None)

    def policy(feature):
        return behaviour.actor(feature).sample()

    objective = behaviour.objective
    return starts, model.imagine(starts.state, policy, behaviour.horizon, objective)


def answer(head, k):
    """Makes a two-hot head answer its bin k wherever it is asked, and says what that is."""
    head.net.output.bias.data[k] = 100.0
    return head.bins[k].item()


def gradients(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


SEEDS = [(0, False), (1, True)]
SPACES = [ActionSpace(2, False), ActionSpace(3, True)]


@pytest.mark.parametrize("dynamics", LATENTS, ids=["gaussian", "categorical"])
@pytest.mark.parametrize("space", SPACES, ids=["continuous", "discrete"])
@pytest.mark.parametrize("gradient", [Reinforce, DynamicsBackprop])
def test_no_gradient_crosses_between_world_model_and_behaviour(gradient, space, dynamics):
    model, batch = pixel_model(space, dynamics), pixels(space)
    behaviour = actor_critic(model, space, gradient)
    torch.manual_seed(2)
    model.loss(batch)[0].total.backward()
    alone = gradients(model)
    assert all(grad is None for grad in gradients(behaviour))
    model.zero_grad()
    torch.manual_seed(2)
    losses, posterior = model.loss(batch)
    # Together with the behaviour, every gradient of the model is bit for bit what it was.
    (losses.total + behaviour.loss(model, batch, posterior).total).backward()
    for ours, reference in zip(gradients(model), alone):
        assert torch.equal(ours, reference)
    for part in (behaviour.actor, behaviour.critic.head):
        assert all(grad.abs().sum() > 0 for grad in gradients(part))
    assert all(grad is None for grad in gradients(behaviour.critic.target))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("dynamics", LATENTS, ids=["gaussian", "categorical"])
@pytest.mark.parametrize("space", SPACES, ids=["continuous", "discrete"])
@pytest.mark.parametrize("gradient", [Reinforce, DynamicsBackprop])
def test_mixed_precision_gives_nearly_the_same_losses(gradient, space, dynamics):
    model, batch = pixel_model(space, dynamics), pixels(space)
    behaviour = actor_critic(model, space, gradient, horizon=1)
    posterior = model.loss(batch)[1]
    found = []
    for enabled in (False, True):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = behaviour.loss(model, batch, posterior)
        losses.total.backward()
        found.append(losses.metrics["loss/critic"])
    torch.testing.assert_close(found[1], found[0], rtol=0.02, atol=0)
    assert losses.total.dtype == torch.float32
    for parameter in behaviour.critic.head.parameters():
        assert parameter.grad.isfinite().all()


def test_a_detached_copy_shares_the_numbers_and_passes_gradients_to_its_inputs_alone():
    model = pixel_model(SPACES[0], LATENTS[0])
    copy = detached(model)
    assert type(copy) is type(model)
    feature = torch.randn(2, model.feature_dim, requires_grad=True)
    expected = torch.autograd.grad(model.reward(feature).sum(), feature)[0]
    copy.reward(feature).sum().backward()
    assert torch.equal(feature.grad, expected)
    assert all(grad is None for grad in gradients(model))
    assert not any(p.requires_grad for p in copy.parameters())
    assert all(p.requires_grad for p in model.parameters())
    # An optimiser's step is seen by both.
    with torch.no_grad():
        next(model.reward.parameters()).add_(1.0)
    assert torch.equal(copy.reward(feature), model.reward(feature))


def test_a_detached_recurrent_layer_learns_nothing_either():
    layer = torch.nn.GRU(2, 3)
    x = torch.randn(4, 2, requires_grad=True)
    detached(layer)(x)[0].sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(grad is None for grad in gradients(layer))


def test_a_frozen_part_of_the_model_stays_frozen():
    space = SPACES[0]
    model, batch = pixel_model(space, LATENTS[0]), pixels(space)
    model.encoder.requires_grad_(False)
    posterior = model.loss(batch)[1]
    actor_critic(model, space, DynamicsBackprop).loss(model, batch, posterior)
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert all(p.requires_grad for p in model.dynamics.parameters())


@pytest.mark.parametrize("gradient", [Reinforce, DynamicsBackprop])
def test_imagination_that_starts_at_terminal_states_yields_nothing(gradient):
    space = SPACES[1]
    model, batch = pixel_model(space, LATENTS[0]), pixels(space, ended=True)
    behaviour = actor_critic(model, space, gradient)
    losses = behaviour.loss(model, batch, model.loss(batch)[1])
    losses.total.backward()
    assert losses.total == 0
    assert all(grad.abs().sum() == 0 for grad in gradients(behaviour.actor))
    assert all(grad.abs().sum() == 0 for grad in gradients(behaviour.critic.head))


def test_starts_are_a_random_subset_without_repetition():
    features = torch.eye(6)
    batch, posterior = replayed(features, terminal=features[:, -1].bool())
    torch.manual_seed(0)
    draws = [sample_starts(batch, posterior, 4) for _ in range(50)]
    seen = torch.stack([draw.state.onehot.sum(0) for draw in draws])
    assert (seen.sum(1) == 4).all()
    assert seen.max() == 1
    assert (seen.sum(0) > 20).all()
    for draw in draws:
        assert torch.equal(draw.continues, 1 - draw.state.onehot[:, -1])
    assert len(sample_starts(batch, posterior, None).continues) == 6


def test_reinforce_weighs_log_probabilities_by_the_advantage():
    logits = torch.tensor([[[0.3, -0.2], [0.1, 0.5]]], requires_grad=True)
    action = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    returns, baseline = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    loss = Reinforce().loss(OneHotStraightThrough(logits), action, returns, baseline)
    chosen = logits.log_softmax(-1)[0, [0, 1], [0, 1]]
    torch.testing.assert_close(loss[0], -torch.tensor([2.0, -1.0]) * chosen)


@pytest.mark.parametrize(("seed", "went_right"), SEEDS)
def test_the_losses_of_an_imagined_rollout_by_hand(seed, went_right):
    model = chain(discount=0.8)
    behaviour = ActorCritic(
        6, model.action_space, horizon=2, entropy_coef=0.5, lambda_=0.9, **QUICK
    )
    # Place 4, next to the end: right pays 1 and ends, left leads to 3.
    batch, posterior = replayed(torch.eye(6)[[4]])
    _, trajectory = imagined(behaviour, model, batch, posterior, seed)
    places = trajectory.feature[0].argmax(-1).tolist()
    assert places[1] == (5 if went_right else 3)
    # The critic starts at 0 everywhere, so only rewards count.
    later = trajectory.reward[0, 1].item()
    first = 1.0 if went_right else 0.9 * 0.8 * later
    torch.manual_seed(seed)
    losses = behaviour.loss(model, batch, posterior)
    assert losses.metrics["imagined_return"].item() == pytest.approx((first + later) / 2)
    assert losses.metrics["imagined_reward"] == trajectory.reward.mean()
    # After the end nothing counts; else the second step does by its discount.
    weight = [1.0, 0.0 if went_right else 0.8]
    # An untrained policy has probability 1/2 and entropy ln 2, the critic 255 equal bins.
    ln2 = 0.6931472
    actor = sum(w * (r * ln2 - 0.5 * ln2) for w, r in zip(weight, [first, later])) / 2
    assert losses.metrics["loss/actor"].item() == pytest.approx(actor, rel=1e-4)
    critic = sum(weight) / 2 * torch.tensor(255.0).log().item()
    assert losses.metrics["loss/critic"].item() == pytest.approx(critic, rel=1e-4)


@pytest.mark.parametrize("gradient", [Reinforce, DynamicsBackprop])
def test_the_actor_counts_in_units_of_the_scale_of_returns(gradient):
    model = chain(discount=0.8)
    behaviour = ActorCritic(
        6, model.action_space, gradient, horizon=1, entropy_coef=0.5, return_ema=0.0, **QUICK
    )
    # Returns ranged from -2 to 8; at rate 0 that is what they do for ever.
    ends = {"low": torch.tensor(-2.0), "high": torch.tensor(8.0), "started": torch.tensor(True)}
    behaviour.scale.load_state_dict(ends)
    value = answer(behaviour.critic.target, 135)
    batch, posterior = replayed(torch.eye(6)[[4] * 8])
    _, trajectory = imagined(behaviour, model, batch, posterior)
    # From place 4 right pays 1 and ends, left pays nothing and leads to 3.
    went_right = trajectory.feature[:, 1, 5].tolist()
    returns = torch.tensor([1.0 if right else 0.8 * value for right in went_right])
    assert 0 < sum(went_right) < 8
    torch.manual_seed(0)
    losses = behaviour.loss(model, batch, posterior)
    # An untrained policy has log-probability -ln 2 and entropy ln 2.
    ln2 = 0.6931472
    per_step = {
        Reinforce: (returns - value) / 10 * ln2,
        DynamicsBackprop: -returns / 10,
    }[gradient]
    expected = per_step.mean().item() - 0.5 * ln2
    assert losses.metrics["loss/actor"].item() == pytest.approx(expected, rel=1e-5)


def test_returns_and_baselines_are_the_slow_targets_and_not_the_heads():
    model = chain(discount=0.8)
    behaviour = ActorCritic(6, model.action_space, horizon=1, entropy_coef=0.0, **QUICK)
    answer(behaviour.critic.head, 150)
    slow = answer(behaviour.critic.target, 135)
    # From place 3 neither way pays: the return is the value after it, the baseline that before it.
    metrics = behaviour.loss(model, *replayed(torch.eye(6)[[3]])).metrics
    assert metrics["imagined_return"].item() == pytest.approx(0.8 * slow, rel=1e-6)
    # An untrained policy has log-probability -ln 2; of a single return the scale is its floor, 1.
    advantage = metrics["loss/actor"].item() / 0.6931472
    assert advantage == pytest.approx(0.8 * slow - slow, rel=1e-6)


def test_the_target_moves_by_its_rate():
    behaviour = ActorCritic(6, SPACES[1], tau=0.25, **QUICK)
    before = [p.clone() for p in behaviour.critic.target.parameters()]
    for parameter in behaviour.critic.head.parameters():
        parameter.data += 1
    behaviour.update_target()
    for old, new in zip(before, behaviour.critic.target.parameters()):
        torch.testing.assert_close(new, old + 0.25)


@pytest.mark.usefixtures("without_shape_checks")
def test_the_value_on_the_chain_is_the_optimal_one():
    torch.manual_seed(0)
    model = chain(discount=0.8)
    # A hasty actor settles for the far coin before it has tried the near one often enough: at three
    # times this rate and a tenth of the entropy two seeds of eight did, at these none.
    slow = QUICK | {"actor_learning_rate": 3e-3}
    behaviour = ActorCritic(
        6, model.action_space, Reinforce, horizon=5, entropy_coef=1e-2, tau=0.2, **slow
    )
    train(behaviour, model, *everywhere_on_the_chain(), updates=250)
    places = torch.eye(6)[:5]
    expected = optimal_chain_values(0.8)[:5]
    # From the left end, going right earns 0.8^4 = 0.41 and staying there 0.1 / 0.2 = 0.5.
    torch.testing.assert_close(expected, torch.tensor([0.5, 0.512, 0.64, 0.8, 1.0]))
    value = behaviour.value(places)
    assert ((value - expected).abs() <= 0.05 * expected).all(), value
    chosen = behaviour.policy(places).mode().argmax(-1).tolist()
    assert chosen[0] == 0
    assert chosen[2:] == [1, 1, 1]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("gradient", [Reinforce, DynamicsBackprop])
def test_a_continuous_policy_finds_the_best_action_and_its_value(gradient):
    torch.manual_seed(0)
    model = aim(discount=0.8)
    behaviour = ActorCritic(
        2, model.action_space, gradient, horizon=5, entropy_coef=1e-3, tau=0.2, **QUICK
    )
    batch, posterior = replayed(torch.rand(24, 2))
    train(behaviour, model, batch, posterior, updates=200)
    features = torch.rand(24, 2)
    assert (behaviour.policy(features).mode() - 0.5).abs().max() < 0.1
    # 1 at every step for ever: 1 / (1 - 0.8).
    assert (behaviour.value(features) - 5).abs().max() < 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon=0: choose 1 or more"),
        ({"starts": 0}, "starts=0: choose 1 or more"),
        ({"lambda_": 1.5}, "lambda_=1.5: choose 0 to 1"),
        ({"tau": 0.0}, "tau=0.0: choose a share above 0 and at most 1"),
        ({"slow_regularizer": -1.0}, "slow_regularizer=-1.0: choose 0 or more"),
        ({"replay_critic": -1.0}, "replay_critic=-1.0: choose 0 or more"),
        ({"replay_critic": 0.3, "starts": 4}, "starts=4 imagines from some: give starts null"),
        (
            {"replay_critic": 0.3, "objective": Curiosity()},
            "replay_critic=0.3 learns from replayed",
        ),
    ],
)
def test_an_option_out_of_its_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ActorCritic(4, SPACES[0], **options)


def test_curiosity_rewards_what_the_members_of_an_ensemble_dispute():
    space = SPACES[0]
    ensemble = partial(EnsembleRSSM, members=3, stoch=4, deter=8, hidden=8)
    model, batch = pixel_model(space, ensemble), pixels(space)
    posterior = model.loss(batch)[1]
    behaviour = actor_critic(
        model, space, DynamicsBackprop, objective=Curiosity(bonus=2.0, reward=0.5)
    )
    starts, trajectory = imagined(behaviour, model, batch, posterior)
    state = starts.state
    for k in range(behaviour.horizon):
        disputed = model.dynamics.disagreement(state, trajectory.action[:, k])
        state = select_state(trajectory.states, (slice(None), k))
        expected = 2 * disputed + 0.5 * model.reward(model.feature(state))
        torch.testing.assert_close(trajectory.reward[:, k], expected)
    assert disputed.min() > 0
    # The loss learns from these rewards.
    torch.manual_seed(0)
    losses = behaviour.loss(model, batch, posterior)
    torch.testing.assert_close(losses.metrics["imagined_reward"], trajectory.reward.mean().detach())


@pytest.mark.parametrize("gradient", [Reinforce, DynamicsBackprop])
def test_no_gradient_of_curiosity_reaches_the_ensemble(gradient):
    space = SPACES[0]
    ensemble = partial(EnsembleRSSM, members=3, stoch=4, deter=8, hidden=8)
    model, batch = pixel_model(space, ensemble), pixels(space)
    behaviour = actor_critic(model, space, gradient, objective=Curiosity())
    posterior = model.loss(batch)[1]
    behaviour.loss(model, batch, posterior).total.backward()
    assert all(grad is None for grad in gradients(model))
    assert all(grad.abs().sum() > 0 for grad in gradients(behaviour.actor))


def test_curiosity_about_one_model_is_refused():
    space = SPACES[0]
    model, batch = pixel_model(space, LATENTS[0]), pixels(space)
    behaviour = actor_critic(model, space, Reinforce, objective=Curiosity())
    with pytest.raises(TypeError, match="has one opinion and cannot disagree"):
        behaviour.loss(model, batch, model.loss(batch)[1])


@pytest.mark.usefixtures("without_shape_checks")
def test_a_reward_of_ones_own_is_what_the_policy_maximises():
    torch.manual_seed(0)
    model = aim(discount=0.8)
    wants = FeatureObjective(lambda feature: 1 - (feature[..., 1] + 0.5).square())
    behaviour = ActorCritic(
        2, model.action_space, DynamicsBackprop, horizon=5, entropy_coef=1e-3, tau=0.2,
        objective=wants, **QUICK,
    )  # fmt: skip
    train(behaviour, model, *replayed(torch.rand(24, 2)), updates=100)
    # The world's own reward is best at 0.5.
    assert (behaviour.policy(torch.rand(24, 2)).mode() + 0.5).abs().max() < 0.15


def test_the_fast_critic_bootstraps_and_is_the_baseline_where_it_is_told_to():
    model = chain(discount=0.8)
    behaviour = ActorCritic(
        6, model.action_space, horizon=1, entropy_coef=0.0, bootstrap="fast", **QUICK
    )
    fast = answer(behaviour.critic.head, 150)
    answer(behaviour.critic.target, 135)
    # From place 3 neither way pays: the return is the value after it, the baseline that before it.
    metrics = behaviour.loss(model, *replayed(torch.eye(6)[[3]])).metrics
    assert metrics["imagined_return"].item() == pytest.approx(0.8 * fast, rel=1e-6)
    advantage = metrics["loss/actor"].item() / 0.6931472
    assert advantage == pytest.approx(0.8 * fast - fast, rel=1e-6)


@pytest.mark.parametrize("gradient", [Reinforce, DynamicsBackprop])
def test_a_fast_critic_learns_from_its_own_loss_alone(gradient):
    """The actor's loss reads its values, and must not raise them."""
    space = SPACES[0]
    model, batch = pixel_model(space, LATENTS[0]), pixels(space)
    behaviour = actor_critic(model, space, gradient, bootstrap="fast", replay_critic=0.3)
    posterior = model.loss(batch)[1]
    behaviour.loss(model, batch, posterior).total.backward()
    assert all(grad.abs().sum() > 0 for grad in gradients(behaviour.critic.head))
    behaviour.zero_grad()
    behaviour.critic.loss = lambda feature, returns: torch.zeros_like(returns.detach())
    behaviour.loss(model, batch, posterior).total.backward()
    assert all(grad.abs().sum() > 0 for grad in gradients(behaviour.actor))
    assert all(grad is None for grad in gradients(behaviour.critic.head))
    assert all(grad is None for grad in gradients(model))


def cross_entropy(head, feature, value):
    """Of a two-hot head against one value: the two bins around it, in double precision."""
    logits = head.net(feature).double()
    log_probs = logits - logits.exp().sum().log()
    bins = head.bins.double()
    above = next(k for k in range(len(bins)) if bins[k] > value)
    share = (value - bins[above - 1]) / (bins[above] - bins[above - 1])
    return -((1 - share) * log_probs[above - 1] + share * log_probs[above]).item()


def perturbed(critic):
    """A critic with weights that say something; head and target disagree."""
    torch.manual_seed(3)
    for parameter in critic.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return critic


def test_the_slow_regularizer_is_a_second_cross_entropy():
    critic = perturbed(Critic(6, 8, 1, 0.02, slow_regularizer=0.7))
    feature, returns = torch.randn(3, 6), torch.tensor([0.3, -20.0, 4000.0])
    found = critic.loss(feature, returns)
    for row in range(3):
        slow = critic.target(feature[row]).item()
        expected = cross_entropy(critic.head, feature[row], returns[row].item())
        expected += 0.7 * cross_entropy(critic.head, feature[row], slow)
        assert found[row].item() == pytest.approx(expected, rel=1e-4)
    found.sum().backward()
    assert all(grad is None for grad in gradients(critic.target))


def two_by_four():
    """Two sequences of four rows on the chain: one ends in row 1 and begins anew, one is cut."""
    places = torch.tensor([[3, 5, 2, 3], [1, 2, 3, 4]])
    flags = torch.zeros(2, 4, dtype=torch.bool)
    first, terminal = flags.clone(), flags.clone()
    first[0, 0] = first[0, 2] = first[1, 0] = True
    terminal[0, 1] = True
    reward = torch.tensor([[0.0, 1.0, 0.0, 0.3], [0.0, 0.2, -0.5, 0.7]])
    obs = torch.zeros(2, 4, 3, 16, 16, dtype=torch.uint8)
    batch = Batch(obs, torch.zeros(2, 4, 2), reward, first, terminal)
    return batch, replayed(torch.eye(6)[places.flatten()])[1], places


def test_the_critics_loss_on_replayed_rows_by_hand():
    model, gamma, lambda_ = chain(discount=0.8), 0.8, 0.9
    behaviour = ActorCritic(
        6, model.action_space, horizon=2, lambda_=lambda_, bootstrap="fast", slow_regularizer=1.0,
        replay_critic=0.3, **QUICK,
    )  # fmt: skip
    perturbed(behaviour.critic)
    batch, posterior, places = two_by_four()
    posterior = type(posterior)(posterior.onehot.reshape(2, 4, 6))

    # The returns imagined at each of the eight rows, from the same noise.
    torch.manual_seed(0)
    starts = all_starts(batch, posterior)
    assert starts.continues.tolist() == [1, 0, 1, 1, 1, 1, 1, 1]
    trajectory = model.imagine(starts.state, behaviour._sample, 2)
    value = behaviour.critic.head(trajectory.feature).detach()
    boot = [[0.0] * 4, [0.0] * 4]
    for n in range(8):
        reward, discount = trajectory.reward[n].tolist(), trajectory.discount[n].tolist()
        last = reward[1] + discount[1] * value[n, 2].item()
        mixed = (1 - lambda_) * value[n, 1].item() + lambda_ * last
        boot[n // 4][n % 4] = reward[0] + discount[0] * mixed

    def replay_return(b, t):
        """From row t: the reward of row t + 1, then what follows it."""
        ahead = boot[b][t + 1]
        goes_on = t + 2 < 4 and not batch.is_first[b, t + 2]
        if goes_on:
            ahead = (1 - lambda_) * ahead + lambda_ * replay_return(b, t + 1)
        live = 0.0 if batch.is_terminal[b, t + 1] else gamma
        return batch.reward[b, t + 1].item() + live * ahead

    expected = 0.0
    for b, t in [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)]:
        feature = torch.eye(6)[places[b, t]]
        head, target = behaviour.critic.head, behaviour.critic.target
        expected += cross_entropy(head, feature, replay_return(b, t)) / 6
        expected += cross_entropy(head, feature, target(feature).item()) / 6
    assert replay_return(0, 0) == 1.0

    torch.manual_seed(0)
    losses = behaviour.loss(model, batch, posterior)
    metrics = losses.metrics
    assert metrics["loss/replay_critic"].item() == pytest.approx(expected, rel=1e-4)
    parts = [metrics[f"loss/{name}"].item() for name in ("actor", "critic", "replay_critic")]
    assert losses.total.item() == pytest.approx(parts[0] + parts[1] + 0.3 * parts[2], rel=1e-6)


@pytest.mark.parametrize("space", SPACES, ids=["continuous", "discrete"])
def test_no_gradient_of_the_replay_loss_reaches_the_world_model(space):
    model, batch = pixel_model(space, LATENTS[1]), pixels(space)
    behaviour = actor_critic(
        model, space, Reinforce, replay_critic=0.3, bootstrap="fast", slow_regularizer=1.0,
        continuous_actor=BoundedNormalActor, norm=RMSNorm, outscale=0.01, debias=False,
    )  # fmt: skip
    behaviour.loss(model, batch, model.loss(batch)[1]).total.backward()
    assert all(grad is None for grad in gradients(model))
    for part in (behaviour.actor, behaviour.critic.head):
        assert all(grad.abs().sum() > 0 for grad in gradients(part))
        assert all(type(stage[1]) is RMSNorm for stage in part.net.hidden)
