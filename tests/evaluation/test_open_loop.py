import json
from math import log10
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from worldmodels.dynamics import Dynamics
from worldmodels.evaluation import imagine_episode, open_loop
from worldmodels.evaluation.open_loop import COPY, EMPTY, MODEL
from worldmodels.nn.decoders import Decoder
from worldmodels.nn.encoders import Encoder
from worldmodels.nn.heads import Head
from worldmodels.nn.pixels import HalfRange
from worldmodels.replay.episode import make_episode
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

SHAPE = (1, 12, 12)


class Level(NamedTuple):
    x: Tensor


class MeanLevel(Encoder):
    """The grey level of a flat frame."""

    def __init__(self, obs_shape):
        super().__init__()
        self.embed_dim = 1

    def forward(self, image):
        return (image.mean((-1, -2)) + 0.5) * 255


class Flat(Decoder):
    def __init__(self, feature_dim, obs_shape):
        super().__init__()

    def forward(self, feature):
        return (feature[..., None, None] / 255 - 0.5).expand(*feature.shape[:-1], *SHAPE)


class Drifting(Dynamics):
    """An action of 1 adds 10 levels; predicted steps are wrong by ``drift``, seen ones are not."""

    drift, noise = 2.0, 0.0

    def __init__(self, embed_dim, action_dim):
        super().__init__()
        self.feature_dim = 1
        self.weight = torch.nn.Parameter(torch.tensor(10.0))

    def initial(self, batch):
        return Level(torch.zeros(batch, 1))

    def prior(self, state, action):
        noise = self.noise * torch.randn_like(state.x)
        return Level(state.x + self.weight * action + self.drift + noise)

    def posterior(self, prior, embed):
        return Level(embed)

    def kl(self, posterior, prior):
        return posterior.x[..., 0] * 0

    def feature(self, state):
        return state.x


class Noisy(Drifting):
    noise = 5.0


class LevelReward(Head):
    """Half the level."""

    def __init__(self, feature_dim):
        super().__init__()

    def forward(self, feature):
        return feature[..., 0] / 2

    def loss(self, feature, target):
        return self(feature) - target


class NeverEnds(LevelReward):
    def forward(self, feature):
        return torch.full_like(feature[..., 0], 0.75)


def model(dynamics=Drifting, decoder=Flat):
    return WorldModel(
        SHAPE,
        ActionSpace(1, False),
        encoder=MeanLevel,
        dynamics=dynamics,
        decoder=decoder,
        reward=LevelReward,
        continues=NeverEnds,
        pixels=HalfRange,
    )


def episode(actions=9, terminal=False, first=20):
    """The level rises by 10 a step; the reward is half the level on arrival."""
    level = first + 10 * np.arange(actions + 1)
    obs = np.broadcast_to(level[:, None, None, None], (actions + 1, *SHAPE)).astype(np.uint8)
    action = np.ones((actions + 1, 1), np.float32)
    reward = (level / 2).astype(np.float32)
    action[0] = reward[0] = 0
    return make_episode(obs, action, reward, terminal, "script", 0)


def psnr(levels):
    return 20 * log10(255 / levels)


def test_psnr_falls_as_the_drift_adds_up():
    error = open_loop(model(), [episode()], context=3, horizon=4, sequences=2)
    expected = [psnr(2), psnr(4), psnr(6), psnr(8)]
    np.testing.assert_allclose(error.psnr[MODEL].mean, expected, atol=1e-3)


def test_baseline_repeats_the_last_seen_frame_and_reward():
    error = open_loop(model(), [episode()], context=3, horizon=4, sequences=2)
    expected = [psnr(10), psnr(20), psnr(30), psnr(40)]
    np.testing.assert_allclose(error.psnr[COPY].mean, expected, atol=1e-3)
    np.testing.assert_allclose(error.reward[COPY].mean, [5, 10, 15, 20])


def test_reward_error_is_half_the_drift():
    error = open_loop(model(), [episode()], context=3, horizon=4, sequences=2)
    np.testing.assert_allclose(error.reward[MODEL].mean, [1, 2, 3, 4], atol=1e-4)


def test_continue_error_compares_with_termination_alone():
    # The model says 0.75 everywhere; the episode terminates in its very last row.
    error = open_loop(model(), [episode(terminal=True)], context=6, horizon=4, sequences=1)
    np.testing.assert_allclose(error.continues[MODEL].mean, [0.25, 0.25, 0.25, 0.75])
    np.testing.assert_allclose(error.continues[COPY].mean, [0, 0, 0, 1])
    error = open_loop(model(), [episode(terminal=False)], context=6, horizon=4, sequences=1)
    np.testing.assert_allclose(error.continues[COPY].mean, [0, 0, 0, 0])


def test_every_start_is_used_when_there_are_few():
    error = open_loop(model(), [episode(9), episode(7)], context=3, horizon=4, sequences=99)
    assert error.sequences == 4 + 2


def test_interval_is_over_sequences():
    # The drift is the same from every start: no doubt about the model, however few sequences.
    error = open_loop(model(), [episode()], context=3, horizon=2, sequences=4)
    np.testing.assert_allclose(error.psnr[MODEL].low, error.psnr[MODEL].high, atol=1e-3)
    uneven = [episode(), episode(first=60)]
    uneven[1].reward[-1] += 8
    error = open_loop(model(), uneven, context=8, horizon=2, sequences=2)
    assert [field[1] for field in error.reward[MODEL]] == pytest.approx([4, 2, 6], abs=1e-4)


def test_moving_pixels_are_judged_apart():
    still = episode()
    ball = still._replace(obs=np.full((10, *SHAPE), 50, np.uint8))
    ball.obs[np.arange(10), 0, 3, np.arange(10)] = 250  # one pixel that walks
    error = open_loop(model(), [ball], context=3, horizon=2, sequences=1)
    # Under the copied frame the moved pixel shows the background; 2 of 144 pixels are wrong.
    np.testing.assert_allclose(error.moving_psnr[COPY].mean, psnr(200), atol=1e-3)
    np.testing.assert_allclose(error.psnr[COPY].mean, psnr(200 * (2 / 144) ** 0.5), atol=1e-3)


def test_empty_background_misses_the_moving_pixel_alone():
    ball = episode()._replace(obs=np.full((10, *SHAPE), 50, np.uint8))
    ball.obs[np.arange(10), 0, 3, np.arange(10)] = 250
    error = open_loop(model(), [ball], context=3, horizon=2, sequences=1)
    np.testing.assert_allclose(error.moving_psnr[EMPTY].mean, psnr(200), atol=1e-3)
    np.testing.assert_allclose(error.psnr[EMPTY].mean, psnr(200 / 144**0.5), atol=1e-3)


def test_interval_is_over_episodes_where_there_are_several():
    # Two dreams of each episode miss the last reward alike: two independent values, not four.
    episodes = [episode(), episode(first=60)]
    episodes[1].reward[-3:] += 8
    error = open_loop(model(), episodes, context=7, horizon=2, sequences=4)
    assert [field[1] for field in error.reward[MODEL]] == pytest.approx([4, 2, 6], abs=1e-4)


def test_steps_without_motion_have_no_moving_psnr():
    flat = episode()._replace(obs=np.full((10, *SHAPE), 50, np.uint8))
    error = open_loop(model(), [flat], context=3, horizon=2, sequences=2)
    assert np.isnan(error.moving_psnr[MODEL].mean).all()
    assert json.loads(json.dumps(error.as_dict()))["moving_psnr"][MODEL]["mean"] == [None, None]


def test_result_is_plain_numbers_for_json():
    error = open_loop(model(), [episode()], context=3, horizon=2, sequences=2)
    read = json.loads(json.dumps(error.as_dict()))
    assert read["reward"][MODEL]["mean"] == [1, 2]
    assert read["psnr"][MODEL]["mean"] == pytest.approx([psnr(2), psnr(4)], abs=1e-4)


def test_panels_hold_model_and_baseline():
    error = open_loop(model(), [episode()], context=3, horizon=2, sequences=2)
    names = [panel.title for panel in error.panels()]
    assert names == ["Frames", "Moving pixels", "Structure", "Reward", "Continuation"]
    shown = [[MODEL, COPY, EMPTY]] * 3 + [[MODEL, COPY]] * 2
    assert [list(panel.bands) for panel in error.panels()] == shown


def test_without_a_decoder_measures_of_pictures_are_left_out():
    error = open_loop(model(decoder=None), [episode()], context=3, horizon=4, sequences=2)
    np.testing.assert_allclose(error.reward[MODEL].mean, [1, 2, 3, 4], atol=1e-4)
    assert (error.psnr, error.ssim, error.moving_psnr) == ({}, {}, {})
    assert [panel.title for panel in error.panels()] == ["Reward", "Continuation"]
    assert set(error.as_dict()) == {"sequences", "context", "reward", "continues"}
    rows = [line for line in str(error).splitlines() if "," in line][1:]
    assert [row.split(",")[0].strip("│ ") for row in rows] == ["reward error"] * 2 + [
        "continue error"
    ] * 2


def test_the_table_shows_some_horizons_and_the_last():
    error = open_loop(model(), [episode()], context=3, horizon=6, sequences=1)
    lines = str(error).splitlines()
    assert "Open-loop error after 3 frames, 1 sequences" in lines[0]
    assert [word for word in lines[2].replace("step ", "step").split() if "step" in word] == [
        "step1", "step5", "step6",
    ]  # fmt: skip
    (reward,) = [line for line in lines if "reward error, model" in line]
    assert reward.replace("│", " ").split()[-3:] == ["1", "5", "6"]


def test_too_short_episodes_are_named():
    with pytest.raises(ValueError, match=r"no episode has 13 frames \(the longest has 10\)"):
        open_loop(model(), [episode()], context=3, horizon=10)


def test_dream_follows_the_true_actions_from_the_last_seen_frame():
    dream = imagine_episode(model(), episode(), context=3, horizon=4, futures=2, start=1)
    assert dream.truth[:, 0, 0, 0].tolist() == [30, 40, 50, 60, 70, 80, 90]
    assert dream.reconstruction[:, 0, 5, 5].tolist() == [30, 40, 50, 60, 70, 80, 90]
    for future in dream.dream:
        assert future[:, 0, 0, 0].tolist() == [62, 74, 86, 98]
    np.testing.assert_allclose(dream.dream_reward, [[31, 37, 43, 49]] * 2, atol=1e-4)
    np.testing.assert_allclose(dream.reward, [15, 20, 25, 30, 35, 40, 45])
    assert (dream.context, dream.start) == (3, 1)


def test_a_policy_may_act_in_the_dream_instead():
    dream = imagine_episode(
        model(), episode(), 3, 4, start=1, policy=lambda feature: torch.zeros(len(feature), 1)
    )
    assert dream.truth[:, 0, 0, 0].tolist() == [30, 40, 50, 60, 70, 80, 90]
    assert dream.dream[0, :, 0, 0, 0].tolist() == [52, 54, 56, 58]  # this model drifts by 2


def test_futures_differ_where_the_model_is_unsure_and_follow_the_seed():
    def dreams(seed):
        return imagine_episode(model(Noisy), episode(), 3, 4, futures=2, seed=seed).dream_reward

    assert (dreams(0)[0] != dreams(0)[1]).all()
    np.testing.assert_array_equal(dreams(0), dreams(0))
    assert (dreams(0) != dreams(1)).any()


def test_dreaming_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    imagine_episode(model(Noisy), episode(), 3, 4)
    open_loop(model(Noisy), [episode()], context=3, horizon=2, sequences=2)
    torch.testing.assert_close(torch.rand(3), expected)


def test_wrong_stretches_are_named():
    too_long = r"has 10 frames, 4 \+ 3 \+ 4 were asked for: choose a smaller horizon"
    with pytest.raises(ValueError, match=too_long):
        imagine_episode(model(), episode(), context=3, horizon=4, start=4)
    with pytest.raises(ValueError, match="futures=0"):
        imagine_episode(model(), episode(), context=3, horizon=4, futures=0)
    with pytest.raises(ValueError, match="context=0, horizon=4"):
        imagine_episode(model(), episode(), context=0, horizon=4)
