import numpy as np
import pytest
import torch

from worldmodels.studies.cart_physics import CartParameters
from worldmodels.studies.sources import ERRORS, Leaning, cut, parameter_errors


def test_errors_are_shares_of_the_truth():
    found = parameter_errors(CartParameters(cart_mass=1.1, pole_mass=0.08, pole_length=1.0))
    assert found == pytest.approx(
        {ERRORS["cart_mass"]: 0.1, ERRORS["pole_mass"]: 0.2, ERRORS["pole_length"]: 0.0}
    )


def test_windows_follow_each_other_and_the_rest_is_dropped():
    rows = torch.stack([torch.arange(5.0), 10 + torch.arange(5.0)])[..., None]
    assert cut(rows, 2)[..., 0].tolist() == [[0, 1], [2, 3], [10, 11], [12, 13]]


def test_poles_lean_to_both_sides_and_stand_still():
    state = Leaning().reset(np.random.default_rng(0), 200)
    assert 0.5 < state.angle.max() <= 0.6
    assert -0.6 <= state.angle.min() < -0.5
    assert np.abs(state.velocity).max() < 0.1
