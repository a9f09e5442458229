import numpy as np
import pytest
import torch
from einops import rearrange

from worldmodels.envs.worlds.two_rooms import TASKS, TwoRooms
from worldmodels.studies.results import Results
from worldmodels.studies.reward_swap import NAMES, STRANGE, SWAPPED, RewardSwap, fitted, walker


def test_the_walker_is_found_where_the_world_drew_it():
    places = np.array([[0.5, -0.3], [-0.75, 0.75], [0.0, 0.1]])
    frames = rearrange(TwoRooms().goal_frames(places), "N h w C -> N C h w")
    np.testing.assert_allclose(walker(frames), places, atol=0.02)


def test_a_frame_without_a_walker_reads_as_the_middle():
    assert walker(np.zeros((1, 3, 64, 64), dtype=np.uint8)).tolist() == [[0, 0]]


def test_the_readout_learns_a_linear_map():
    feature = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    place = torch.stack([feature[:, 0] - feature[:, 1], 0.5 * feature[:, 2]], -1)
    assert (fitted(feature, place, 0)(feature) - place).abs().mean() < 0.02


def judged(swapped, strange):
    ratios = {
        variant: {f"{name}: ratio": value for name, value in zip(NAMES, values, strict=True)}
        for variant, values in ((SWAPPED, swapped), (STRANGE, strange))
    }
    return [check.passed for check in RewardSwap().verdict(Results([ratios]))]


def test_each_task_must_reach_nine_tenths_and_the_ablation_must_not():
    assert judged([0.9, 1.2, 0.89, 1.0], [0.1, 0.95, 0.2, 0.89]) == [
        *(True, True, False, True),
        *(True, False, True, True),
    ]


@pytest.mark.parametrize("task", range(4))
def test_the_ablation_pursues_a_goal_that_pays_little(task):
    places = np.array([[0.75, 0.75], [-0.75, -0.75], [0.0, 0.0], [0.95, 0.0]])
    other = places[(task + 2) % 4][None]
    assert TASKS[task](other)[0] < 0.2
