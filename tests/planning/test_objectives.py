import pytest
import torch
from test_world_model import Position, walker

from worldmodels.planning.objectives import (
    ActionCost,
    FeatureObjective,
    FrameObjective,
    GoalImage,
    LearnedReward,
    Mean,
    MeanAndStd,
    Minimum,
    goal_feature,
)

START = Position(torch.tensor([[1.0]]))
# From 1: visits 2, 4. Rewards are positions, the discount is 0.9.
PLAN = torch.tensor([[[[1.0], [2.0]]]])


def scored(objective, plan=PLAN, **options):
    return walker().score(START, plan, objective=objective, **options).item()


def test_the_learned_reward_is_what_a_plan_is_scored_by_unless_told_otherwise():
    assert scored(LearnedReward()) == scored(None) == pytest.approx(2 + 0.9 * 4)


def test_a_function_of_the_feature_sees_where_each_action_led():
    assert scored(FeatureObjective(lambda x: 10 * x[..., 0])) == pytest.approx(20 + 0.9 * 40)


def test_action_cost_counts_squares():
    assert scored(ActionCost()) == pytest.approx(-1 - 0.9 * 4)


def test_objectives_add_up_with_their_weights():
    total = LearnedReward() + 0.5 * ActionCost() - FeatureObjective(lambda x: x[..., 0]) * 2
    assert scored(total) == pytest.approx((2 - 0.5 - 4) + 0.9 * (4 - 2 - 8))
    assert scored(-ActionCost()) == pytest.approx(1 + 0.9 * 4)


def test_a_function_of_the_frame_sees_the_decoded_bytes():
    model = walker()
    decoded = model.decode(torch.tensor([[2.0], [4.0]])).float().mean((-1, -2, -3))

    def brightness(frames):
        assert frames.dtype == torch.uint8
        return frames.float().mean((-1, -2, -3))

    found = model.score(START, PLAN, objective=FrameObjective(brightness)).item()
    assert found == pytest.approx((decoded[0] + 0.9 * decoded[1]).item(), rel=1e-5)


def test_frames_are_decoded_only_when_asked_for(monkeypatch):
    model = walker()
    monkeypatch.setattr(model, "decode", lambda feature: pytest.fail("decoded"))
    model.score(START, PLAN, objective=LearnedReward() + ActionCost())


def test_closeness_to_a_goal_is_minus_the_squared_distance():
    assert scored(GoalImage(torch.tensor([3.0]))) == pytest.approx(-1 - 0.9 * 1)


def test_the_goal_of_a_frame_is_where_filtering_it_ends():
    model = walker()
    model.dynamics.posterior = lambda prior, embed: Position(prior.x + embed.mean(-1, keepdim=True))
    frame = torch.full((3, 16, 16), 200, dtype=torch.uint8)
    each = model.encode(frame[None]).mean()
    torch.testing.assert_close(goal_feature(model, frame, steps=3), 3 * each[None])


def test_rewards_after_the_end_count_nothing_and_neither_does_the_value():
    model = walker()
    model.continues.forward = lambda feature: (feature[..., 0] < 3).float()
    plan = torch.tensor([[[[1.0], [2.0], [5.0]]]])
    # Visits 2, 4 (the end, whose reward still arrives), 9.
    found = model.score(START, plan, value=lambda feature: 100 * feature[..., 0])
    assert found.item() == pytest.approx(2 + 0.9 * 4)


def test_the_value_counts_with_every_discount_up_to_the_horizon():
    def value(feature):
        return 7 + 0 * feature[..., 0]

    assert scored(ActionCost(), value=value) == pytest.approx(-1 - 0.9 * 4 + 0.81 * 7)


def test_aggregations_join_particles_by_mean_minimum_and_spread():
    returns = torch.tensor([[[1.0, 3.0, 5.0], [2.0, 2.0, 2.0]]])
    deviation = (8 / 3) ** 0.5
    assert Mean()(returns)[0].tolist() == [3, 2]
    assert Minimum()(returns)[0].tolist() == [1, 2]
    expected = torch.tensor([[3 - 0.5 * deviation, 2.0]])
    torch.testing.assert_close(MeanAndStd(-0.5)(returns), expected, atol=1e-5, rtol=0)


def test_the_spread_of_equal_particles_has_a_finite_gradient():
    returns = torch.ones(1, 1, 3, requires_grad=True)
    MeanAndStd(-1.0)(returns).sum().backward()
    torch.testing.assert_close(returns.grad, torch.full((1, 1, 3), 1 / 3))


def test_an_objective_that_is_not_finite_is_named():
    objective = 0.5 * ActionCost() + FeatureObjective(lambda x: (x[..., 0] - 2).log())
    with pytest.raises(ValueError, match=r"0.5 \* \(ActionCost\).*1 of 2 rewards are not finite"):
        scored(objective)


def test_an_objective_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"returned shape \(1, 2, 1\).*\(1, 2\)"):
        walker().score(START, PLAN, objective=lambda model, trajectory: trajectory.feature[:, 1:])


def test_a_value_of_the_wrong_size_is_named():
    with pytest.raises(ValueError, match="features of size 1"):
        walker().score(START, PLAN, value=torch.nn.Linear(5, 1))
    with pytest.raises(ValueError, match=r"returned shape \(1, 1\), expected \(1,\)"):
        walker().score(START, PLAN, value=torch.nn.Linear(1, 1))
