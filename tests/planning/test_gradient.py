import pytest
import torch

from worldmodels.planning import Gradient
from worldmodels.planning.gradient import Adam, _clipped
from worldmodels.planning.scoring import Scorer
from worldmodels.planning.search import CategoricalSearch
from worldmodels.types import ActionSpace

LINE = ActionSpace(1, discrete=False)


def swing(state, plans):
    """Return of a damped pendulum under torque, rolled out step by step."""
    angle = torch.full_like(plans[..., 0, 0], 3.0)
    speed, total = torch.zeros_like(angle), torch.zeros_like(angle)
    for torque in plans[..., 0].unbind(-1):
        speed = 0.95 * speed + 0.3 * angle.sin() + 0.5 * torque
        angle = angle + 0.2 * speed
        total = total + angle.cos() - 0.01 * torque.square()
    return total


def test_the_gradient_of_the_planned_return_equals_finite_differences(rng):
    plans = torch.rand(2, 3, 8, 1, dtype=torch.float64, generator=rng(0)) - 0.5
    values, gradient = Scorer(swing, "test").gradient(None, plans, lambda variables: variables)
    assert torch.equal(values, swing(None, plans))
    for index in torch.cartesian_prod(*(torch.arange(size) for size in plans.shape)).tolist():
        step = torch.zeros_like(plans)
        step[tuple(index)] = 1e-6
        rise = swing(None, plans + step) - swing(None, plans - step)
        slope = rise[index[0], index[1]] / 2e-6
        assert abs(slope - gradient[tuple(index)]) < 1e-7


def test_the_straight_through_gradient_is_the_softmaxs():
    logits = torch.tensor([[[1.0, 0.0, 0.0]]], requires_grad=True)
    plan = CategoricalSearch(3).relax(logits)
    assert plan.tolist() == [[[1.0, 0.0, 0.0]]]
    (plan * torch.tensor([0.0, 1.0, 0.0])).sum().backward()
    p = torch.tensor([1.0, 0.0, 0.0]).softmax(0)
    # d p_1 / d l = p_1 (e_1 - p)
    assert logits.grad is not None
    expected = p[1] * (torch.tensor([0.0, 1.0, 0.0]) - p)
    torch.testing.assert_close(logits.grad[0, 0], expected)


def test_adams_first_step_is_the_learning_rate_uphill(quadratic):
    target = torch.tensor([[[0.5], [-0.8]]])
    planner = Gradient(LINE, 2, starts=1, steps=1, learning_rate=0.2)
    plan = planner.plan(quadratic, target, planner.initial(1))
    torch.testing.assert_close(plan.actions, torch.tensor([[[0.2], [-0.2]]]))
    # two evaluations for the step, one each for its end and for the best plan on the way
    assert plan.evaluations == 4


def test_adam_follows_its_algorithm():
    gradients = [0.3, -2.0, 0.7, 0.0]
    adam, first, second = Adam(torch.zeros(1, 1, 1, 1), 0.05), 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        expected = 0.05 * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)) ** 0.5 + 1e-8)
        step = adam.step(torch.full((1, 1, 1, 1), gradient))
        assert step.item() == pytest.approx(expected, rel=1e-4)


def test_each_plans_gradient_is_clipped_by_its_own_norm():
    gradient = torch.tensor([[[[3.0, 4.0]], [[0.3, 0.4]], [[0.0, 0.0]]]])
    expected = torch.tensor([[[[1.2, 1.6]], [[0.3, 0.4]], [[0.0, 0.0]]]])
    torch.testing.assert_close(_clipped(gradient, 2.0), expected)


def test_one_start_climbs_the_nearest_hill_and_many_find_the_highest(rng):
    def hills(state, plans):
        left = 0.6 * torch.exp(-((plans + 0.5) / 0.2).square())
        right = torch.exp(-((plans - 0.6) / 0.2).square())
        return (left + right).sum((-1, -2))

    init = torch.full((1, 1, 1), -0.4)
    one = Gradient(LINE, 1, starts=1).plan(hills, None, init, rng(0))
    many = Gradient(LINE, 1, starts=20).plan(hills, None, init, rng(0))
    assert one.actions.item() == pytest.approx(-0.5, abs=0.01)
    assert many.actions.item() == pytest.approx(0.6, abs=0.01)


def test_the_best_plan_on_the_way_is_not_lost():
    """A step size far too large overshoots the peak for ever; the warm start is on it."""

    def peak(state, plans):
        return -10 * (plans - 0.1).square().sum((-1, -2))

    init = torch.full((1, 2, 1), 0.11)
    plan = Gradient(LINE, 2, starts=1, steps=3, learning_rate=0.9).plan(peak, None, init)
    assert plan.value.item() >= peak(None, init[:, None]).item()


def test_the_models_own_gradients_are_left_alone():
    weight = torch.nn.Parameter(torch.tensor(2.0))
    with torch.no_grad():
        plan = Gradient(LINE, 2, starts=2, steps=5).plan(
            lambda state, plans: (weight * plans).sum((-1, -2)), None, torch.zeros(1, 2, 1)
        )
    assert weight.grad is None
    assert not plan.actions.requires_grad
    assert not plan.value.requires_grad


@pytest.mark.parametrize(
    "score",
    [
        lambda state, plans: plans.detach().sum((-1, -2)),
        lambda state, plans: torch.ones(plans.shape[:2], requires_grad=True),
        lambda state, plans: torch.ones(plans.shape[:2], requires_grad=True) * 2,
    ],
)
def test_a_score_without_gradient_is_refused(score):
    with pytest.raises(ValueError, match="Gradient: the score carries no gradient") as error:
        Gradient(LINE, 2).plan(score, None, torch.zeros(1, 2, 1))
    assert "\n" not in str(error.value)


def test_a_gradient_that_is_not_a_number_is_refused():
    def kink(state, plans):
        return -plans.square().sum((-1, -2)).sqrt()

    with pytest.raises(ValueError, match=r"Gradient: 100\.0 % of the 2 gradients .* NaN"):
        Gradient(LINE, 2, starts=1).plan(kink, None, torch.zeros(1, 2, 1))
