import pytest
import torch
from known_worlds import (
    Chain,
    Place,
    aim,
    chain,
    everywhere_on_the_chain,
    optimal_chain_values,
    replayed,
    train,
)

from worldmodels.agent import Agent
from worldmodels.nn.heads import Head
from worldmodels.planning import MPC, RandomShooting
from worldmodels.studies.fitted_value import FittedValue, imagine_greedily
from worldmodels.types import ActionSpace

CHOICES = ActionSpace(2, True)


class Table(Head):
    """A number for every place, learned by its squared error."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers = torch.nn.Parameter(torch.tensor(numbers, dtype=torch.float64))

    def forward(self, feature):
        return feature @ self.numbers

    def loss(self, feature, target):
        return (self(feature) - target).square()


def fitted(feature_dim=Chain.places, space=CHOICES, **options):
    return FittedValue(feature_dim, space, **{"hidden": 32, "layers": 1, "tau": 0.1} | options)


def test_the_fitted_value_is_that_of_the_best_policy():
    torch.manual_seed(0)
    behaviour = fitted(starts=32, horizon=3, learning_rate=1e-2)
    train(behaviour, chain(), *everywhere_on_the_chain(copies=8), updates=250)
    value = behaviour.value(torch.eye(Chain.places))
    # Left of the middle the small coin at the left end seems nearer; the best goes right.
    torch.testing.assert_close(value[:-1], optimal_chain_values(0.8)[:-1], rtol=0.05, atol=0.02)


def test_continuous_actions_are_tried_at_random():
    torch.manual_seed(0)
    model = aim()
    options = {"hidden": 16, "tau": 0.2, "horizon": 2, "choices": 64, "learning_rate": 1e-2}
    behaviour = fitted(2, model.action_space, **options)
    train(behaviour, model, *replayed(torch.tensor([[1.0, 0.0]] * 8)), updates=300)
    # The best action pays 1 at every step, of which 64 tries lose little: 1 / (1 - 0.8).
    assert behaviour.value(torch.tensor([1.0, 0.0])).item() == pytest.approx(5.0, rel=0.05)


def test_a_greedy_rollout_takes_the_better_of_reward_and_value():
    start = Place(torch.eye(Chain.places)[[1, 1]])
    nothing = imagine_greedily(chain(), lambda feature: 0 * feature[:, 0], start, horizon=2)
    # The coin at the left end pays 0.1 at once, and again for staying.
    assert nothing.action[..., 0].tolist() == [[1, 1], [1, 1]]
    torch.testing.assert_close(nothing.reward, torch.full((2, 2), 0.1))
    right = imagine_greedily(chain(), lambda feature: feature @ torch.arange(6.0), start, horizon=2)
    assert right.feature[0].argmax(-1).tolist() == [1, 2, 3]
    assert right.states.onehot[0].argmax(-1).tolist() == [2, 3]


def test_the_slow_target_both_chooses_the_action_and_values_its_outcome():
    behaviour = fitted(horizon=1)
    behaviour.critic.head = Table([0.0, 0.0, 1.0, 7.0, 0.0, 0.0])
    behaviour.critic.target = Table([0.0, 5.0, 0.0, 2.0, 0.0, 0.0])
    batch, posterior = replayed(torch.eye(Chain.places).double()[[2]])
    loss = behaviour.loss(chain(0.8), batch, posterior).total
    # The target goes left, for 0.8 * 5 = 4, where the head said 1; the head would go right.
    assert loss.item() == pytest.approx(9.0, rel=1e-12)


def test_what_comes_after_the_end_is_not_learned():
    torch.manual_seed(0)
    behaviour = fitted(hidden=8, horizon=2)
    before = behaviour.value(torch.eye(Chain.places))
    batch, posterior = replayed(torch.eye(Chain.places)[[5] * 4], torch.ones(4, dtype=torch.bool))
    assert behaviour.loss(chain(), batch, posterior).total == 0
    train(behaviour, chain(), batch, posterior, updates=3)
    torch.testing.assert_close(behaviour.value(torch.eye(Chain.places)), before)


def test_it_acts_greedily_and_has_no_policy():
    behaviour = fitted(choices=4)
    behaviour.critic.head = Table([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    places = Place(torch.eye(Chain.places).double()[[2, 4, 1]])
    is_first = torch.zeros(3, dtype=torch.bool)
    action, _ = behaviour.act(chain(), places, (), is_first)
    # To place 3, which has the value 1; from 4 to the coin of 1; from 1 to the coin of 0.1.
    assert action.argmax(-1).tolist() == [1, 1, 0]
    with pytest.raises(TypeError, match="FittedValue has a value alone"):
        behaviour.policy(torch.eye(Chain.places))


def test_it_guides_a_planner_by_its_value():
    behaviour = fitted(hidden=8)
    behaviour.critic.head = Table([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).float()
    planner = RandomShooting(CHOICES, horizon=2, candidates=64)
    agent = Agent(chain(0.8), MPC(planner, guide=behaviour, proposals=0), noise=0.0).eval()
    obs = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    action, _ = agent.act(obs, torch.ones(1, dtype=torch.bool), agent.initial(1, 0))
    # Two steps to the right reach place 2, for 0.64 against 0.18 on the left.
    assert action.argmax(-1).tolist() == [1]


def test_numbers_out_of_range_are_named():
    with pytest.raises(ValueError, match="choices=0: choose 1 or more"):
        fitted(choices=0)
    with pytest.raises(ValueError, match="horizon=0: choose 1 or more"):
        fitted(horizon=0)
    with pytest.raises(ValueError, match=r"lambda_=1\.5: choose 0 to 1"):
        fitted(lambda_=1.5)
