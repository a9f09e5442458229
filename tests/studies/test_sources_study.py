import numpy as np
import pytest
import torch

from worldmodels.dynamics.cart_swing import CartParameters
from worldmodels.dynamics.sources import FittedCartSwing
from worldmodels.envs.make import make_env
from worldmodels.replay.collect import RandomAgent, collect_episodes
from worldmodels.studies.sources import ENV, REPEAT, SPACE, fit_to_frames, relative_errors, windows


def test_errors_are_shares_of_the_truth():
    found = relative_errors(CartParameters(cart_mass=1.1, pole_mass=0.08, pole_length=1.0))
    assert found == pytest.approx({"cart mass": 0.1, "pole mass": 0.2, "pole length": 0.0})


def test_windows_follow_each_other_and_stay_inside_their_sequence():
    rows = [torch.arange(5.0)[:, None], 10 + torch.arange(4.0)[:, None]]
    assert windows(rows, 2)[..., 0].tolist() == [[0, 1], [2, 3], [10, 11], [12, 13]]


def test_a_wrong_guess_is_put_right_by_frames_of_random_actions():
    env = make_env(**ENV, num_envs=1)
    episodes = collect_episodes(
        env, RandomAgent(SPACE), 3, seed=0, explore=True, policy="random", round=0
    )
    equations = FittedCartSwing(2, 1, REPEAT).equations
    found = relative_errors(fit_to_frames(equations, episodes))
    assert max(found.values()) < 0.05
    assert np.isclose(equations.log[0].exp().item(), 1.0, atol=0.05)
