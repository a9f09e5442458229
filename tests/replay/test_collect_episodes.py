from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, UInt8
from recorded import SPEC, assert_same
from torch import Tensor

from worldmodels.envs.base import Frames, PixelEnv
from worldmodels.replay.collect import RandomAgent, collect_episodes, play
from worldmodels.replay.episode import Episode, check_episode, make_episode
from worldmodels.replay.store import EpisodeStore
from worldmodels.types import ActionSpace


class Ticking(PixelEnv):
    """Copy i plays episodes of ``lengths[i]`` actions; a frame shows copy and tick.

    The reward is the first action's number on arrival; only copy 0 ends terminally. All frames
    are written into one array, as a fast environment would.
    """

    obs_shape, action_space = (2, 1, 1), ActionSpace(3, False)
    name, frame_rate, action_repeat = "Ticking-v0", 15.0, 2

    def __init__(self, lengths: list[int], forgets: bool = False):
        self.num_envs, self.lengths, self.forgets = len(lengths), np.array(lengths), forgets
        self.tick = np.zeros(len(lengths), int)
        self.memory = np.zeros((len(lengths), 2, 1, 1), np.uint8)
        self.steps, self.seeds = 0, []

    def reset(self, seed: int) -> Frames:
        self.seeds.append(seed)
        self.tick[:] = 0
        return self._frames(np.zeros(self.num_envs, np.float32))

    def step(self, action: np.ndarray) -> Frames:
        self.steps += 1
        starts = self.tick == self.lengths
        self.tick = np.where(starts, 0, self.tick + 1)
        return self._frames(np.where(starts, 0, action[:, 0]).astype(np.float32))

    def _frames(self, reward: np.ndarray) -> Frames:
        self.memory[:, 0, 0, 0] = np.arange(self.num_envs)
        self.memory[:, 1, 0, 0] = self.tick
        last = self.tick == self.lengths
        first = (self.tick == 0) & (not self.forgets or self.steps < 2)
        return Frames(self.memory, reward, first, last & (np.arange(self.num_envs) == 0), last)

    def close(self) -> None:
        pass


class Counter:
    """Its k-th action is (k / 100, copy / 10, 0)."""

    def initial(self, batch: int, seed: int) -> int:
        return 0

    def act(
        self,
        obs: UInt8[Tensor, "B C h w"],
        is_first: Bool[Tensor, " B"],
        state: int,
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], Any]:
        assert torch.equal(is_first, obs[:, 1, 0, 0] == 0)
        copies = obs[:, 0, 0, 0].float()
        action = torch.stack(
            [torch.full_like(copies, (state + 1) / 100), copies / 10, copies * 0], dim=1
        )
        return action, state + 1


def test_rows_hold_the_action_that_led_to_them():
    env = Ticking([2, 3])
    episodes = collect_episodes(env, Counter(), 3, 0, False, "counter", 4)
    # Steps 1 2 | 3 resets copy 0 | 4 5; copy 1 plays 1 2 3 and idles.
    for episode, copy, actions in zip(
        episodes, [0, 1, 0], [[1, 2], [1, 2, 3], [4, 5]], strict=True
    ):
        count = len(actions)
        first = np.array([0, *actions], np.float32) / np.float32(100)
        led = np.stack([first, [0] + [copy / 10] * count, [0] * (count + 1)], axis=1)
        obs = np.stack([[copy] * (count + 1), range(count + 1)], axis=1).reshape(-1, 2, 1, 1)
        expected = make_episode(
            obs.astype(np.uint8), led.astype(np.float32), first, copy == 0, "counter", 4
        )
        assert_same(episode, expected)
        check_episode(episode, env.obs_shape, env.action_space)
    assert env.steps == 5


@pytest.mark.parametrize(("episodes", "shares"), [(1, [1, 0, 0]), (5, [2, 2, 1]), (9, [3, 3, 3])])
def test_each_copy_plays_a_fixed_share_however_short_its_episodes(episodes: int, shares: list[int]):
    played = collect_episodes(Ticking([1, 9, 4]), Counter(), episodes, 0, False, "p", 0)
    copies = [int(episode.obs[0, 0, 0, 0]) for episode in played]
    assert [copies.count(copy) for copy in range(3)] == shares


def test_each_episode_is_handed_out_the_moment_it_ends(tmp_path: Path):
    env, store, seen = Ticking([2, 3]), EpisodeStore(tmp_path, SPEC), []

    def take(episode: Episode) -> None:
        seen.append((store.append(episode).id, env.steps))

    played = collect_episodes(env, Counter(), 3, 0, False, "p", 0, on_episode=take)
    assert seen == [(0, 2), (1, 3), (2, 5)]
    for ours, theirs in zip(played, store, strict=True):
        assert_same(ours, theirs)


def test_the_same_seed_gives_the_same_episodes_and_another_others():
    def collected(seed: int) -> list[np.ndarray]:
        env = Ticking([2, 3])
        agent = RandomAgent(env.action_space)
        played = list(play(env, agent, 4, seed, True, "random", 0))
        assert env.seeds == [seed]
        return [episode.action for episode in played]

    for ours, theirs in zip(collected(3), collected(3), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(collected(3)[0], collected(4)[0])


def test_an_environment_that_hides_its_resets_is_refused():
    with pytest.raises(ValueError, match="env 0 shows is_first=False after 0 rows"):
        collect_episodes(Ticking([1, 1], forgets=True), Counter(), 4, 0, False, "p", 0)


def test_no_episode_at_all_is_refused():
    with pytest.raises(ValueError, match="episodes=0: choose 1 or more"):
        collect_episodes(Ticking([1]), Counter(), 0, 0, False, "p", 0)


def random_actions(space: ActionSpace, batch: int) -> np.ndarray:
    agent, actions = RandomAgent(space), []
    state = agent.initial(batch, 5)
    frame, first = torch.zeros(batch, 1, 1, 1, dtype=torch.uint8), torch.zeros(batch).bool()
    for _ in range(200):
        action, state = agent.act(frame, first, state)
        actions.append(action.numpy())
    return np.concatenate(actions)


def test_random_numbers_fill_the_range_evenly():
    actions = random_actions(ActionSpace(2, False), 50)
    counts, _ = np.histogram(actions, bins=10, range=(-1, 1))
    assert counts.sum() == actions.size
    assert np.abs(counts - 2000).max() < 5 * 2000**0.5


def test_random_choices_are_one_hot_and_equally_frequent():
    actions = random_actions(ActionSpace(4, True), 50)
    assert set(actions.ravel().tolist()) == {0.0, 1.0}
    assert (actions.sum(axis=1) == 1).all()
    assert np.abs(actions.sum(axis=0) - 2500).max() < 5 * 2500**0.5
