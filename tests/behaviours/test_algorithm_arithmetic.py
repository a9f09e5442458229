"""Targets, losses and gradients of the algorithms against hand computations in float64."""

import math

import pytest
import torch
import yaml

from worldmodels.behaviours import DQN, PPO, SAC
from worldmodels.behaviours.ppo import clipped_surrogate, standardised
from worldmodels.behaviours.q_values import ContinuousQPair, DiscreteQPair
from worldmodels.behaviours.transitions import Transitions
from worldmodels.config import CONFIGS
from worldmodels.nn.distributions import OneHotStraightThrough, TanhNormal
from worldmodels.types import ActionSpace

REAL, CHOICES = ActionSpace(1, False), ActionSpace(2, True)
SMALL = {"hidden": 4, "layers": 1}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def transitions(rows=2, steps=3, dim=2, features=4, **fields):
    onehot = torch.eye(dim)[torch.randint(dim, (rows, steps))]
    made = Transitions(
        torch.randn(rows, steps, features), onehot, torch.randn(rows, steps),
        0.9 * torch.rand(rows, steps), torch.randn(rows, steps, features),
        torch.ones(rows, steps),
    )  # fmt: skip
    return made._replace(**fields)


class Table(torch.nn.Module):
    """The same values in every state."""

    def __init__(self, *values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, feature, action=None):
        if action is None:
            return self.values.expand(*feature.shape[:-1], -1)
        return (self.values * action).sum(-1)


def shaken(module):
    torch.manual_seed(1)
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return module


# SAC


def test_a_tanh_normals_density_is_the_normals_by_the_slope_of_the_tanh():
    policy = TanhNormal(torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0]))
    action = torch.tensor([0.6, -0.2])
    expected = 0.0
    for mean, std, a in [(0.3, 0.5, 0.6), (-1.0, 2.0, -0.2)]:
        raw = math.atanh(a)
        density = math.exp(-0.5 * ((raw - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
        expected += math.log(density / (1 - a * a))
    assert policy.log_prob(action).item() == pytest.approx(expected, rel=1e-12)


def test_the_soft_target_for_choices():
    algorithm = SAC(4, CHOICES, temperature=0.5, **SMALL)
    # Probabilities 0.99 * softmax + 0.005.
    algorithm.actor.net.output.bias.data = torch.tensor([math.log(3.0), 0.0])
    algorithm.critics.target.first = Table(1.0, 4.0)
    algorithm.critics.target.second = Table(2.0, 3.0)
    reward, discount = torch.tensor([[7.0, 7.0]]), torch.tensor([[0.9, 0.0]])
    made = transitions(1, 2, reward=reward, discount=discount)
    p = 0.99 * 0.75 + 0.005
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    # The smaller of 1 and 2, and of 4 and 3.
    soft = p * 1 + (1 - p) * 3 + 0.5 * entropy
    torch.testing.assert_close(algorithm.targets(made), torch.tensor([[7 + 0.9 * soft, 7.0]]))


def test_the_soft_target_for_real_valued_actions():
    algorithm = SAC(4, REAL, temperature=0.5, **SMALL)
    algorithm.critics.target.first, algorithm.critics.target.second = Table(2.0), Table(3.0)
    made = transitions(2, 3, dim=1)
    torch.manual_seed(0)
    target = algorithm.targets(made)
    torch.manual_seed(0)
    # Untrained: mean 0, standard deviation softplus(0) + 0.001 = ln 2 + 0.001.
    std = math.log(2) + 0.001
    action = torch.tanh(std * torch.randn(2, 3, 1))[..., 0]
    slope = (1 - torch.tanh(std * torch.randn(2, 3, 1)).square()).log()[..., 0]
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2) + slope
    value = torch.where(action > 0, 2 * action, 3 * action)
    expected = made.reward + made.discount * (value + 0.5 * entropy)
    # Samples are single precision.
    torch.testing.assert_close(target, expected, rtol=1e-5, atol=1e-6)


def test_the_smaller_value_counts_action_by_action():
    feature = torch.zeros(3, 4)
    pair = ContinuousQPair(4, 1, 4, 1, 1.0)
    pair.first, pair.second = Table(1.0), Table(-2.0)
    policy = TanhNormal(torch.tensor([[-1.0], [0.0], [1.0]]), torch.full((3, 1), 1e-12))
    low, high = math.tanh(-1), math.tanh(1)
    torch.testing.assert_close(pair.value(policy, feature), torch.tensor([low, 0.0, -2 * high]))
    torch.testing.assert_close(pair.mode_value(policy, feature), torch.tensor([low, 0, -2 * high]))
    pair = DiscreteQPair(4, 2, 4, 1)
    pair.first, pair.second = Table(1.0, 10.0), Table(3.0, 5.0)
    half = OneHotStraightThrough(torch.zeros(3, 2))
    torch.testing.assert_close(pair.value(half, feature), torch.tensor([3.0, 3.0, 3.0]))


def test_the_temperature_grows_by_what_the_entropy_lacks():
    algorithm = SAC(4, CHOICES, temperature=0.5, target_entropy=0.4, **SMALL)
    losses = algorithm.loss(transitions())
    losses.total.backward()
    # An untrained policy has ln 2 nats; the loss is exp(log temperature) times the difference.
    expected = 0.5 * (math.log(2) - 0.4)
    assert algorithm.log_temperature.grad.item() == pytest.approx(expected, rel=1e-6)
    assert losses.metrics["loss/temperature"].item() == pytest.approx(expected, rel=1e-6)


def test_the_actor_follows_the_soft_value_alone():
    torch.manual_seed(0)
    algorithm = shaken(SAC(4, CHOICES, temperature=0.5, **SMALL))
    made = transitions()
    algorithm.loss(made).total.backward()
    policy = algorithm.actor(made.feature)
    values = [head(made.feature).detach() for head in algorithm.critics.heads.children()]
    temperature = algorithm.log_temperature.exp().detach()
    value = (policy.probs * torch.minimum(*values)).sum(-1)
    loss = -(value - temperature * (policy.probs * policy.probs.log()).sum(-1)).mean()
    parameters = list(algorithm.actor.parameters())
    for parameter, expected in zip(parameters, torch.autograd.grad(loss, parameters)):
        # A policy's own numbers are float32.
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("min_std", "least"), [(1e-3, -5.49), (0.1, -0.89)])
def test_the_least_entropy_at_the_middle_of_the_range(min_std, least):
    torch.manual_seed(0)
    algorithm = SAC(4, ActionSpace(2, False), min_std=min_std, **SMALL)
    # The softplus of the standard deviations is 0: their floor alone is left.
    algorithm.actor.net.output.bias.data[2:] = -50.0
    entropy = algorithm.policy(torch.zeros(4000, 4)).entropy().mean().item()
    assert entropy / 2 == pytest.approx(least, abs=0.01)
    # A normal has ln(std sqrt(2 pi e)); the tanh's slope is 1 - tanh(x)^2, about 1 - std^2.
    normal = math.log(min_std) + 0.5 * math.log(2 * math.pi * math.e)
    assert entropy / 2 == pytest.approx(normal - min_std**2, abs=0.001)


def test_the_default_policy_can_meet_the_default_target_entropy():
    algorithm = SAC(4, ActionSpace(2, False), **SMALL)
    algorithm.actor.net.output.bias.data[2:] = -50.0
    assert algorithm.policy(torch.zeros(4)).entropy() < algorithm.target_entropy
    with pytest.raises(ValueError, match=r"SAC: min_std=0\.0: choose a number above 0"):
        SAC(4, REAL, min_std=0.0)


def test_a_target_entropy_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"target_entropy=0\.7: the uniform policy has 0.693 nats"):
        SAC(4, CHOICES, target_entropy=0.7)
    assert SAC(4, ActionSpace(6, False), **SMALL).target_entropy == -6
    assert SAC(4, CHOICES, **SMALL).target_entropy == pytest.approx(0.3 * math.log(2))


# DQN


def test_double_q_asks_the_target_about_the_networks_choice():
    algorithm = DQN(4, CHOICES, **SMALL)
    algorithm.head, algorithm.target = Table(1.0, 2.0), Table(30.0, 20.0)
    reward, discount = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.5, 0.0]])
    made = transitions(1, 2, reward=reward, discount=discount)
    # The network likes choice 1, which the target values at 20: not 30, its own best.
    assert algorithm.targets(made).tolist() == [[11.0, 1.0]]


def test_the_network_learns_of_the_choice_that_was_made():
    algorithm = shaken(DQN(4, CHOICES, **SMALL))
    made = transitions()
    losses = algorithm.loss(made)
    logits = algorithm.head.net(made.feature).reshape(2, 3, 2, 255).log_softmax(-1)
    chosen = logits.gather(2, made.action.argmax(-1)[..., None, None].expand(-1, -1, -1, 255))
    bins, returns = algorithm.head.bins, algorithm.targets(made)
    expected = 0.0
    for index in range(6):
        target, row = returns.flatten()[index], chosen.reshape(6, 255)[index]
        above = int((bins <= target).sum())
        share = (target - bins[above - 1]) / (bins[above] - bins[above - 1])
        expected -= ((1 - share) * row[above - 1] + share * row[above]) / 6
    torch.testing.assert_close(losses.total, expected)


def test_the_policy_is_greedy_but_for_epsilon():
    algorithm = DQN(4, ActionSpace(4, True), exploration=0.2, **SMALL)
    algorithm.head = Table(0.0, 3.0, 1.0, 2.0)
    policy = algorithm.policy(torch.zeros(2, 4))
    torch.testing.assert_close(policy.probs[0], torch.tensor([0.05, 0.85, 0.05, 0.05]))
    assert policy.mode()[1].tolist() == [0, 1, 0, 0]
    assert algorithm.value(torch.zeros(2, 4)).tolist() == [3, 3]


def test_equal_values_are_chosen_among_evenly_and_by_the_seed():
    algorithm = DQN(4, ActionSpace(3, True), **SMALL)
    feature = torch.zeros(3000, 4)
    torch.manual_seed(0)
    first = algorithm.policy(feature).mode()
    assert first.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    torch.manual_seed(0)
    assert torch.equal(algorithm.policy(feature).mode(), first)
    # Among the best alone.
    algorithm.head = Table(2.0, 1.0, 2.0)
    chosen = algorithm.policy(feature).mode().mean(0)
    assert chosen.tolist() == pytest.approx([0.5, 0.0, 0.5], abs=0.03)


def test_q_learning_over_real_valued_actions_is_refused():
    with pytest.raises(ValueError, match="DQN chooses among discrete actions"):
        DQN(4, REAL)


# PPO


def test_the_surrogate_is_clipped_where_it_would_gain_and_not_where_it_would_lose():
    ratio = torch.tensor([[1.5, 0.5, 1.5, 0.5, 1.1]])
    advantage = torch.tensor([[2.0, 2.0, -2.0, -2.0, 3.0]])
    expected = torch.tensor([[2.4, 1.0, -3.0, -1.6, 3.3]])
    torch.testing.assert_close(clipped_surrogate(ratio, advantage, 0.2), expected)


def test_advantages_are_standardised_by_their_weights():
    advantage = torch.tensor([[1.0, 3.0, 99.0]])
    found = standardised(advantage, torch.tensor([[1.0, 1.0, 0.0]]))
    assert found[0, :2].tolist() == pytest.approx([-1, 1])


def test_advantages_are_generalised_and_cut_where_a_sequence_breaks():
    algorithm = shaken(PPO(4, CHOICES, lambda_=0.7, **SMALL))
    weight = torch.tensor([[1.0, 1.0, 0.0, 1.0, 1.0]])
    made = transitions(1, 5, weight=weight)
    # Within a sequence the next state is where the last transition ended.
    made.after[:, :-1] = made.feature[:, 1:]
    value, later = (algorithm.critic.target(x)[0] for x in (made.feature, made.after))
    error = made.reward[0] + made.discount[0] * later - value
    lambda_ = 0.7 * made.discount[0]
    expected = [
        error[0] + lambda_[0] * error[1],
        error[1],
        error[3] + lambda_[3] * error[4],
        error[4],
    ]
    found = (algorithm.returns(made)[0] - value)[[0, 1, 3, 4]]
    torch.testing.assert_close(found, torch.stack(expected))


def mean_steps_ahead(rows, discount):
    """Steps ahead that count in a return, on average over a sequence of ``rows`` rows."""
    algorithm = PPO(4, CHOICES, **SMALL)  # untrained, so every value is 0
    made = transitions(1, rows - 1)
    ones = torch.ones_like(made.reward)
    # A reward of 1 a step: the return adds up the weights of the steps that it sees.
    return algorithm.returns(made._replace(reward=ones, discount=discount * ones)).mean().item()


@pytest.mark.parametrize(
    ("rows", "discount", "steps"),
    [(16, 1.0, 6.4), (16, 0.99, 6.2), (64, 1.0, 14.2), (64, 0.99, 12.7)],
)
def test_how_far_a_sequence_lets_advantages_look_ahead(rows, discount, steps):
    found = mean_steps_ahead(rows, discount)
    ahead = [sum((0.95 * discount) ** k for k in range(n)) for n in range(1, rows)]
    assert found == pytest.approx(sum(ahead) / len(ahead), rel=1e-6)
    assert found == pytest.approx(steps, abs=0.05)


def test_the_recipe_of_ppo_looks_ahead_most_of_what_lambda_allows():
    recipe = yaml.safe_load((CONFIGS / "recipe" / "ppo.yaml").read_text())
    rows, size = recipe["batches"]["batch_length"], recipe["batches"]["batch_size"]
    # Lambda 0.95 allows 20 steps.
    assert mean_steps_ahead(rows, 1.0) >= 14
    # A round's 80 batches show its 2,000 steps ten times.
    assert recipe["round_updates"] * rows * size / 2000 == recipe["collect"]["replay_ratio"]


def test_the_ratio_is_against_the_older_policy_until_it_catches_up():
    algorithm = PPO(4, CHOICES, refresh=2, **SMALL)
    made = transitions()
    algorithm.actor.net.output.bias.data = torch.tensor([0.8, 0.0])
    advantage = standardised(algorithm.returns(made), made.weight)
    new = algorithm.actor(made.feature).log_prob(made.action).exp()
    # Untrained, the older policy gives each choice one half.
    surrogate = torch.minimum(new / 0.5 * advantage, (new / 0.5).clamp(0.8, 1.2) * advantage)
    bonus = 3e-3 * algorithm.actor(made.feature).entropy()
    found = algorithm.loss(made).metrics
    torch.testing.assert_close(found["loss/actor"], -(surrogate + bonus).mean())
    assert found["clipped"] == 1
    assert algorithm.act(torch.zeros(4000, 4)).mean(0)[0].item() == pytest.approx(0.5, abs=0.03)
    algorithm.update_target()
    assert algorithm.loss(made).metrics["clipped"] == 1
    algorithm.update_target()
    assert algorithm.loss(made).metrics["clipped"] == 0
    assert algorithm.act(torch.zeros(4000, 4)).mean(0)[0].item() == pytest.approx(0.69, abs=0.03)


# All


ALGORITHMS = [(SAC, REAL), (SAC, CHOICES), (DQN, CHOICES), (PPO, REAL), (PPO, CHOICES)]


@pytest.mark.parametrize(("make", "space"), ALGORITHMS)
def test_transitions_of_weight_0_teach_nothing(make, space):
    torch.manual_seed(0)
    algorithm = shaken(make(4, space, **SMALL))
    made = transitions(dim=space.dim, weight=torch.zeros(2, 3))
    losses = algorithm.loss(made)
    losses.total.backward()
    assert losses.total == 0
    for group in algorithm.parameter_groups():
        assert all(parameter.grad.abs().sum() == 0 for parameter in group.parameters)


@pytest.mark.parametrize(("make", "space"), ALGORITHMS)
def test_only_the_critic_passes_a_gradient_to_the_features(make, space):
    torch.manual_seed(0)
    algorithm = shaken(make(4, space, **SMALL))
    made = transitions(dim=space.dim)
    feature, after = made.feature.requires_grad_(), made.after.requires_grad_()
    torch.manual_seed(2)
    algorithm.loss(made).total.backward()
    assert after.grad is None
    torch.manual_seed(2)
    returns = algorithm.returns(made) if isinstance(algorithm, PPO) else algorithm.targets(made)
    if isinstance(algorithm, SAC):
        critic = algorithm.critics.heads.loss(made.feature, made.action, returns)
    elif isinstance(algorithm, DQN):
        critic = algorithm.head.loss(made.feature, made.action, returns)
    else:
        critic = algorithm.critic.head.loss(made.feature, returns)
    torch.testing.assert_close(feature.grad, torch.autograd.grad(critic.mean(), feature)[0])
