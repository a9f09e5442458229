import pytest
import torch
from known_worlds import Chain, Place, aim, chain, optimal_chain_values

from worldmodels.behaviours.base import StartStates
from worldmodels.behaviours.critic import Critic
from worldmodels.nn.heads import Head
from worldmodels.studies.fitted_value import fit_value, imagine_greedily


class Table(Head):
    """A number for every place, learned by its squared error."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers = torch.nn.Parameter(torch.tensor(numbers, dtype=torch.float64))

    def forward(self, feature):
        return feature @ self.numbers

    def loss(self, feature, target):
        return (self(feature) - target).square()


def everywhere(copies=8):
    places = torch.eye(Chain.places).repeat(copies, 1)
    return StartStates(Place(places), 1 - places[:, -1])


def test_the_fitted_value_is_that_of_the_best_policy():
    torch.manual_seed(0)
    critic = Critic(Chain.places, hidden=32, layers=1, tau=0.1)
    fit_value(chain(), critic, everywhere(), updates=250, rows=32, horizon=3, learning_rate=1e-2)
    value = critic(torch.eye(Chain.places))
    # Left of the middle the small coin at the left end seems nearer; the best goes right.
    torch.testing.assert_close(value[:-1], optimal_chain_values(0.8)[:-1], rtol=0.05, atol=0.02)


def test_real_valued_actions_are_tried_at_random():
    torch.manual_seed(0)
    critic = Critic(2, hidden=16, layers=1, tau=0.2)
    start = StartStates(Place(torch.tensor([[1.0, 0.0]])), torch.ones(1))
    fit_value(aim(), critic, start, updates=300, rows=8, horizon=2, choices=64, learning_rate=1e-2)
    # The best action pays 1 at every step, of which 64 tries lose little: 1 / (1 - 0.8).
    assert critic(torch.tensor([1.0, 0.0])).item() == pytest.approx(5.0, rel=0.05)


def test_a_greedy_rollout_takes_the_better_of_reward_and_value():
    start = Place(torch.eye(Chain.places)[[1, 1]])
    nothing = imagine_greedily(chain(), lambda feature: 0 * feature[:, 0], start, horizon=2)
    # The coin at the left end pays 0.1 at once, and again for staying.
    assert nothing.action[..., 0].tolist() == [[1, 1], [1, 1]]
    torch.testing.assert_close(nothing.reward, torch.full((2, 2), 0.1))
    right = imagine_greedily(chain(), lambda feature: feature @ torch.arange(6.0), start, horizon=2)
    assert right.feature[0].argmax(-1).tolist() == [1, 2, 3]


def test_the_slow_target_both_chooses_the_action_and_values_its_outcome():
    critic = Critic(Chain.places, hidden=8, layers=1, tau=0.1)
    critic.head = Table([0.0, 0.0, 1.0, 7.0, 0.0, 0.0])
    critic.target = Table([0.0, 5.0, 0.0, 2.0, 0.0, 0.0])
    start = StartStates(Place(torch.eye(Chain.places).double()[[2]]), torch.ones(1).double())
    (loss,) = fit_value(chain(0.8), critic, start, updates=1, rows=1, horizon=1)
    # The target goes left, for 0.8 * 5 = 4, where the head said 1; the head would go right.
    assert loss.item() == pytest.approx(9.0, rel=1e-12)


def test_what_comes_after_the_end_is_not_learned():
    torch.manual_seed(0)
    critic = Critic(Chain.places, hidden=8, layers=1, tau=0.1)
    before = critic(torch.eye(Chain.places))
    ended = StartStates(Place(torch.eye(Chain.places)[-1:]), torch.zeros(1))
    losses = fit_value(chain(), critic, ended, updates=3, rows=4, horizon=2)
    assert losses.tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(critic(torch.eye(Chain.places)), before)


def test_numbers_out_of_range_are_named():
    critic = Critic(Chain.places, hidden=8, layers=1, tau=0.1)
    with pytest.raises(ValueError, match="updates=0"):
        fit_value(chain(), critic, everywhere(), updates=0)
    with pytest.raises(ValueError, match="horizon=0"):
        fit_value(chain(), critic, everywhere(), updates=1, horizon=0)
