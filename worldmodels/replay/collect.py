"""Plays whole episodes of an environment with an agent, and records them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from worldmodels.checks import check_at_least
from worldmodels.envs.actions import random_actions
from worldmodels.envs.base import Frames, PixelEnv
from worldmodels.replay.episode import Episode, make_episode
from worldmodels.types import ActionSpace


@runtime_checkable
class FrameAgent(Protocol):
    """Chooses actions from frames: the project's `Agent`, a random one, a script."""

    def initial(self, batch: int, seed: int) -> Any:
        """The state before the first frame."""
        ...

    def act(
        self,
        obs: UInt8[Tensor, "B C h w"],
        is_first: Bool[Tensor, " B"],
        state: Any,
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], Any]:
        """One action per environment, and the next state."""
        ...


class RandomState(NamedTuple):
    """The seed and the number of steps taken, from which all further actions follow."""

    seed: int
    step: int


class RandomAgent:
    """Acts uniformly at random.

    Args:
        action_space: numbers in [-1, 1], or one choice as a one-hot.
    """

    def __init__(self, action_space: ActionSpace):
        self.action_space = action_space

    def initial(self, batch: int, seed: int) -> RandomState:
        return RandomState(seed, 0)

    def act(
        self,
        obs: UInt8[Tensor, "B C h w"],
        is_first: Bool[Tensor, " B"],
        state: RandomState,
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], RandomState]:
        rng = np.random.default_rng(tuple(state))
        action = random_actions(self.action_space, len(is_first), rng)
        return torch.from_numpy(action), state._replace(step=state.step + 1)


def collect_episodes(
    env: PixelEnv,
    agent: FrameAgent,
    episodes: int,
    seed: int,
    explore: bool,
    policy: str,
    round: int,
    on_episode: Callable[[Episode], object] | None = None,
) -> list[Episode]:
    """Plays whole episodes and returns them in the order in which they end.

    Args:
        env: the environment, reset at the beginning; its ``num_envs`` copies play side by side.
        agent: chooses the actions.
        episodes: how many episodes, shared out to the copies beforehand as evenly as possible.
        seed: of the environment and the agent; the same seed gives the same episodes.
        explore: whether the agent adds its exploration noise.
        policy: name of the behaviour policy, recorded with each episode.
        round: round of data collection, recorded with each episode.
        on_episode: called with each episode as soon as it ends.

    Raises:
        ValueError: when ``episodes`` is below 1.
    """
    played = []
    for episode in play(env, agent, episodes, seed, explore, policy, round):
        if on_episode is not None:
            on_episode(episode)
        played.append(episode)
    return played


def play(
    env: PixelEnv,
    agent: FrameAgent,
    episodes: int,
    seed: int,
    explore: bool,
    policy: str,
    round: int,
) -> Iterator[Episode]:
    """As `collect_episodes`, but yields each episode as it ends.

    Every copy of the environment plays a number of episodes fixed beforehand: taking whichever
    episodes end first would favour short ones.

    Raises:
        ValueError: when ``episodes`` is below 1.
    """
    check_at_least("collect_episodes", 1, episodes=episodes)
    shares = [episodes // env.num_envs + (i < episodes % env.num_envs) for i in range(env.num_envs)]
    slots = [_Slot(share) for share in shares]
    action = np.zeros((env.num_envs, env.action_space.dim), np.float32)
    state = agent.initial(env.num_envs, seed)
    frames = env.reset(seed)
    while True:
        for index, slot in enumerate(slots):
            if slot.add(frames, action, index):
                yield slot.finish(bool(frames.is_terminal[index]), policy, round)
        if not any(slot.left for slot in slots):
            return
        chosen, state = agent.act(
            torch.from_numpy(frames.obs), torch.from_numpy(frames.is_first), state, explore
        )
        action = chosen.cpu().numpy().astype(np.float32, copy=False)
        frames = env.step(action)


class _Row(NamedTuple):
    obs: np.ndarray
    action: np.ndarray
    reward: float


class _Slot:
    """The episode in progress in one copy of the environment, and how many it has left."""

    def __init__(self, share: int):
        self.left = share
        self._rows: list[_Row] = []

    def add(self, frames: Frames, action: np.ndarray, index: int) -> bool:
        """Adds a row with the action that led to it; True when the episode has ended."""
        if not self.left:
            return False
        # An environment that forgets the flag would join two episodes into one.
        if bool(frames.is_first[index]) != (not self._rows):
            raise ValueError(
                f"env {index} shows is_first={bool(frames.is_first[index])} after "
                f"{len(self._rows)} rows: it must be set in the first row of an episode alone"
            )
        led = action[index] if self._rows else np.zeros_like(action[index])
        # Copies: the environment may write its next frame into the same memory.
        row = _Row(frames.obs[index].copy(), led.copy(), float(frames.reward[index]))
        self._rows.append(row)
        return bool(frames.is_last[index])

    def finish(self, terminal: bool, policy: str, round: int) -> Episode:
        """The complete episode; the slot starts afresh."""
        obs, action, reward = zip(*self._rows, strict=True)
        self._rows, self.left = [], self.left - 1
        reward = np.array(reward, np.float32)
        return make_episode(np.stack(obs), np.stack(action), reward, terminal, policy, round)
