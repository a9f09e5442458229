import pytest
import torch

from worldmodels.behaviours.transitions import (
    imagined_transitions,
    replayed_transitions,
    weighted_mean,
)
from worldmodels.types import ActionSpace, Batch, Trajectory
from worldmodels.world_model import WorldModel


def test_replayed_transitions_depart_where_rows_arrive():
    flags = torch.zeros(1, 5, dtype=torch.bool)
    first, terminal = flags.clone(), flags.clone()
    first[0, [0, 3]], terminal[0, 2] = True, True
    number = torch.arange(5.0)[None]
    batch = Batch(
        torch.zeros(1, 5, 1, 1, 1, dtype=torch.uint8),
        number[..., None],
        10 * number,
        first,
        terminal,
    )
    made = replayed_transitions(batch, 100 * number[..., None], 0.9)
    assert made.feature[0, :, 0].tolist() == [0, 100, 200, 300]
    assert made.after[0, :, 0].tolist() == [100, 200, 300, 400]
    assert made.action[0, :, 0].tolist() == [1, 2, 3, 4]
    assert made.reward[0].tolist() == [10, 20, 30, 40]
    # Row 2 is terminal: nothing is discounted after the arrival there, and nothing leaves it.
    # Discounts of replayed steps are in single precision, whatever the rewards are in.
    assert made.discount[0].tolist() == pytest.approx([0.9, 0, 0.9, 0.9])
    assert made.weight[0].tolist() == [1, 1, 0, 1]


def test_a_time_limit_keeps_its_discount():
    first = torch.tensor([[True, False, True, False]])
    nothing = torch.zeros(1, 4)
    batch = Batch(
        torch.zeros(1, 4, 1, 1, 1, dtype=torch.uint8),
        nothing[..., None],
        nothing,
        first,
        ~first & False,
    )
    made = replayed_transitions(batch, nothing[..., None], 0.9)
    assert made.discount[0].tolist() == pytest.approx([0.9, 0.9, 0.9])
    assert made.weight[0].tolist() == [1, 0, 1]


def test_imagined_transitions_count_by_the_chance_that_they_are_reached():
    trajectory = Trajectory(
        feature=torch.arange(8.0).reshape(2, 4, 1),
        action=torch.zeros(2, 3, 1),
        reward=torch.zeros(2, 3),
        discount=0.9 * torch.tensor([[1.0, 0.5, 1.0], [0.2, 1.0, 1.0]]).double(),
        start=None,
        states=None,
    )
    made = imagined_transitions(trajectory, torch.tensor([1.0, 0.0]).double(), 0.9)
    expected = torch.tensor([[1.0, 1.0, 0.5], [0.0, 0.0, 0.0]]).double()
    torch.testing.assert_close(made.weight, expected, rtol=1e-12, atol=0)
    assert torch.equal(made.discount, trajectory.discount)
    assert made.feature[0, :, 0].tolist() == [0, 1, 2]
    assert made.after[0, :, 0].tolist() == [1, 2, 3]


def test_a_weighted_mean_is_over_what_happened():
    values = torch.tensor([[2.0, 100.0, 5.0]]).double()
    weight = torch.tensor([[1.0, 0.0, 0.5]]).double()
    assert weighted_mean(values, weight).item() == pytest.approx(4.5 / 1.5, rel=1e-12)
    assert weighted_mean(values, 0 * weight) == 0


@pytest.mark.parametrize("discount", [0.0, -0.5])
def test_no_model_has_a_discount_that_its_weights_cannot_be_divided_by(discount):
    with pytest.raises(ValueError, match=f"discount={discount}: choose a number above 0"):
        WorldModel((3, 16, 16), ActionSpace(2, True), discount=discount)
