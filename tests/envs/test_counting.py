import gymnasium
import numpy as np
import pytest

from worldmodels.envs.counting import Counting
from worldmodels.envs.world_env import WorldEnv, WorldVectorEnv


def test_frames_rewards_and_blocks_of_an_episode_are_the_written_rows():
    env = WorldEnv(Counting(length=3))
    first, info = env.reset()
    rows = [(first[40, 40, 0], first[0, 0, 0], info["position"])]
    for action in (0, 2, 1):
        frame, reward, terminated, truncated, info = env.step(action)
        rows.append((frame[40, 40, 0], frame[7, 7, 2], info["position"], reward, terminated))
        assert not truncated
    assert rows == [(0, 0, 0), (1, 64, 1, 1, False), (2, 192, 2, 2, False), (3, 128, 3, 3, True)]


def test_the_block_ends_after_eight_pixels():
    frame, _ = WorldEnv(Counting()).reset()
    world = Counting()
    state = world.step(world.reset(np.random.default_rng(0), 1), np.array([1])).state
    frame = world.render(state)[0, :, :, 0]
    assert (frame[:8, :8] == 128).all()
    assert (frame == 1).sum() == 64 * 64 - 64


def test_frames_wrap_at_256():
    world = Counting()
    state = world.reset(np.random.default_rng(0), 1)
    for _ in range(258):
        state = world.step(state, np.array([0])).state
    assert world.render(state)[0, 63, 63, 0] == 2
    assert world.info(state)["position"] == [258]


def test_a_time_limit_truncates_and_does_not_terminate():
    env = WorldEnv(Counting(time_limit=2))
    env.reset()
    assert env.step(0)[2:4] == (False, False)
    assert env.step(0)[2:4] == (False, True)


def test_a_time_limit_that_comes_before_the_length_only_truncates():
    env = WorldEnv(Counting(length=3, time_limit=2))
    env.reset()
    env.step(0)
    assert env.step(0)[2:4] == (False, True)


def test_the_registered_world_returns_55_in_ten_steps():
    env = gymnasium.make("worldmodels/Counting-v0")
    env.reset()
    rewards = [env.step(1)[1] for _ in range(10)]
    assert sum(rewards) == 55


def test_a_length_of_zero_is_refused_by_name():
    with pytest.raises(ValueError, match="Counting: length=0: choose 1 or more"):
        Counting(length=0)


def test_next_step_autoreset_ignores_the_action_and_pays_nothing():
    env = WorldVectorEnv(Counting(length=2), num_envs=2)
    env.reset()
    rows = []
    for _ in range(5):
        frame, reward, terminated, _, info = env.step(np.array([0, 2]))
        block = frame[:, 0, 0, 0].tolist()
        rows.append((info["position"].tolist(), block, reward.tolist(), terminated.tolist()))
    assert rows == [
        ([1, 1], [64, 192], [1, 1], [False, False]),
        ([2, 2], [64, 192], [2, 2], [True, True]),
        ([0, 0], [0, 0], [0, 0], [False, False]),
        ([1, 1], [64, 192], [1, 1], [False, False]),
        ([2, 2], [64, 192], [2, 2], [True, True]),
    ]
