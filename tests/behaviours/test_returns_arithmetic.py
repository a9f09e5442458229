import pytest
import torch

from worldmodels.behaviours.returns import ReturnScale, lambda_returns, step_weights

EXACT = {"rtol": 1e-12, "atol": 0}


def double(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def rollouts(seed=0):
    torch.manual_seed(seed)
    reward, value = torch.randn(5, 7).double(), torch.randn(5, 7).double()
    return reward, torch.rand(5, 7).double(), value


def mixed_by_hand(reward, discount, value, lambda_):
    """By definition: n-step returns with weights (1 - lambda_) lambda_^(n - 1), last the rest."""
    steps, total = len(reward), 0.0
    for n in range(1, steps + 1):
        ahead, reached = 0.0, 1.0
        for k in range(n):
            ahead += reached * reward[k]
            reached *= discount[k]
        ahead += reached * value[n - 1]
        share = lambda_ ** (n - 1) * (1 if n == steps else 1 - lambda_)
        total += share * ahead
    return total


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 0.95, 1.0])
def test_lambda_returns_are_the_mix_of_all_n_step_returns(lambda_):
    reward, discount, value = rollouts()
    returns = lambda_returns(reward, discount, value, lambda_)
    for row in range(5):
        for k in range(7):
            rest = (reward[row, k:], discount[row, k:], value[row, k:])
            expected = mixed_by_hand(*(part.tolist() for part in rest), lambda_)
            assert returns[row, k].item() == pytest.approx(expected, rel=1e-12)


def test_two_steps_by_hand():
    reward, discount = double([[1.0, 2.0]]), double([[0.9, 0.5]])
    returns = lambda_returns(reward, discount, double([[10.0, 20.0]]), 0.5)
    # Last: 2 + 0.5 * 20 = 12. First: 1 + 0.9 (0.5 * 10 + 0.5 * 12) = 10.9.
    torch.testing.assert_close(returns, double([[10.9, 12.0]]), **EXACT)


def test_after_a_terminal_state_nothing_counts_but_after_a_time_limit_the_value_does():
    reward, value = double([[1.0, 2.0, 4.0]]), double([[7.0, 7.0, 7.0]])
    ended = lambda_returns(reward, double([[0.9, 0.0, 0.9]]), value, 0.95)
    expected = double([1 + 0.9 * (0.05 * 7 + 0.95 * 2), 2.0])
    torch.testing.assert_close(ended[0, :2], expected, **EXACT)
    # A rollout that is merely cut off keeps its discount, so the last value counts.
    cut = lambda_returns(reward[:, :1], double([[0.9]]), value[:, :1], 0.95)
    torch.testing.assert_close(cut, double([[1 + 0.9 * 7]]), **EXACT)


def test_steps_count_by_the_discounted_chance_to_be_reached():
    discount = double([[0.9, 0.45, 0.9], [0.9, 0.0, 0.9]]).requires_grad_()
    weight = step_weights(discount, double([1.0, 1.0]))
    torch.testing.assert_close(weight, double([[1, 0.9, 0.405], [1, 0.9, 0]]), **EXACT)
    assert not weight.requires_grad


def test_a_rollout_from_a_terminal_state_counts_nothing():
    weight = step_weights(double([[0.9] * 3] * 2), double([0.0, 1.0]))
    torch.testing.assert_close(weight, double([[0, 0, 0], [1, 0.9, 0.81]]), **EXACT)


def percentile(numbers, share):
    """Linear interpolation between the two nearest of the sorted numbers."""
    ranked = sorted(numbers)
    place = share * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


def test_the_scale_follows_the_5th_to_95th_percentile():
    torch.manual_seed(0)
    scale, low, high = ReturnScale(rate=0.25).double(), None, None
    for _ in range(4):
        returns = 10 * torch.randn(6, 5).double()
        scale.update(returns)
        ends = [percentile(returns.flatten().tolist(), share) for share in (0.05, 0.95)]
        low = ends[0] if low is None else 0.75 * low + 0.25 * ends[0]
        high = ends[1] if high is None else 0.75 * high + 0.25 * ends[1]
        assert scale().item() == pytest.approx(high - low, rel=1e-12)


def test_small_returns_are_not_blown_up():
    scale = ReturnScale()
    scale.update(torch.tensor([[0.0, 0.01]]))
    assert scale() == 1


def test_the_scale_is_part_of_the_state():
    scale, again = ReturnScale(0.5), ReturnScale(0.5)
    scale.update(torch.tensor([[0.0, 100.0]]))
    again.load_state_dict(scale.state_dict())
    for each in (scale, again):
        each.update(torch.tensor([[0.0, 10.0]]))
    # 90 of the first, 9 of the second: both remembered that the first had been seen.
    assert again() == scale() == pytest.approx(49.5)


def test_without_debias_the_scale_begins_at_0():
    torch.manual_seed(0)
    scale, low, high = ReturnScale(rate=0.25, debias=False).double(), 0.0, 0.0
    for _ in range(3):
        returns = 10 * torch.randn(6, 5).double()
        scale.update(returns)
        ends = [percentile(returns.flatten().tolist(), share) for share in (0.05, 0.95)]
        low, high = 0.75 * low + 0.25 * ends[0], 0.75 * high + 0.25 * ends[1]
        assert high - low > 1
        assert scale().item() == pytest.approx(high - low, rel=1e-12)
