"""Exact pixel worlds: a batched simulator as pure functions, and its two Gymnasium faces."""

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.envs.drawing import SIDE
from worldmodels.types import ActionSpace

WorldState = Any
"""The state of N copies of a world: a NamedTuple of arrays that share the leading axis N."""


class WorldStep(NamedTuple):
    """What N copies of a world do in one step: the next state and what came with it."""

    state: WorldState
    reward: Float[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]


class World(ABC):
    """A simulator of N copies at once that owns no state: the same arguments, the same answer.

    It can therefore also serve as the exact model for a planner that steps thousands of candidate
    states. Randomness enters through the generator given to ``reset`` alone; a world with noise in
    its steps keeps a random key per copy in its state and derives the noise from it.

    Attributes:
        action_space: what an action is.
        time_limit: world steps after which the faces truncate an episode.
        frame_rate: world steps per second of simulated time.
    """

    action_space: ActionSpace
    time_limit: int
    frame_rate: float

    @abstractmethod
    def reset(self, rng: np.random.Generator, num: int) -> WorldState:
        """Draws ``num`` start states."""

    @abstractmethod
    def step(self, state: WorldState, action: Shaped[np.ndarray, "N ..."]) -> WorldStep:
        """One world step from each state.

        ``action`` has shape [N, A] with numbers in [-1, 1] (clipped), or, where the action space
        is discrete, shape [N] with the indices of choices.
        """

    @abstractmethod
    def render(self, state: WorldState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """The frame that each state shows (new arrays, never shared)."""

    @abstractmethod
    def info(self, state: WorldState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """Exact physical values of each state, for studies and tests; no agent may see them."""


class Outcome(NamedTuple):
    """What one agent step brought to N running episodes."""

    reward: Float[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]
    truncated: Bool[np.ndarray, " N"]


class _Episodes:
    """N running episodes of one world: the bookkeeping that both faces share."""

    def __init__(self, world: World | str, num: int, action_repeat: int, time_limit: int | None):
        self.world = pkgutil.resolve_name(world)() if isinstance(world, str) else world
        if not isinstance(self.world, World):
            raise TypeError(f"world is {world!r}; give a World or the path 'package.module:Class'")
        numbers = {"num_envs": num, "action_repeat": action_repeat, "time_limit": time_limit}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        self.action_repeat = action_repeat
        # Counted in world steps, so that a repeat that does not divide the world's own limit
        # shortens the last agent step and every repeat plays the same episode length.
        self.limit = self.world.time_limit if time_limit is None else time_limit * action_repeat
        self.state: WorldState = None
        self.elapsed = np.zeros(num, dtype=np.int64)

    def start(self, rngs: Sequence[np.random.Generator], mask: Bool[np.ndarray, " N"]) -> None:
        """Starts a new episode where ``mask`` is set, each from its own generator."""
        chosen = [rng for rng, starts in zip(rngs, mask, strict=True) if starts]
        fresh = [self.world.reset(rng, 1) for rng in chosen]
        fields = [np.concatenate(parts) for parts in zip(*fresh, strict=True)]
        if not mask.all():
            both = zip(self.state, fields, strict=True)
            fields = [_replaced(old, mask, new) for old, new in both]
        self.state = type(fresh[0])(*fields)
        self.elapsed[mask] = 0

    def advance(self, action: Any, running: Bool[np.ndarray, " N"]) -> Outcome:
        """One agent step where ``running``; an episode that ends during a repeat stays there."""
        action = self._checked(action)
        reward = np.zeros(self.elapsed.size)
        terminated = np.zeros(self.elapsed.size, dtype=bool)
        for _ in range(self.action_repeat):
            live = running & ~terminated & (self.elapsed < self.limit)
            step = self.world.step(self.state, action)
            self.state = _where(live, step.state, self.state)
            reward += np.where(live, step.reward, 0.0)
            terminated |= live & step.terminated
            self.elapsed += live
        return Outcome(reward, terminated, running & (self.elapsed >= self.limit))

    def _checked(self, action: Any) -> Shaped[np.ndarray, "N ..."]:
        if self.state is None:
            raise RuntimeError("step() came before the first reset(); call reset() first")
        space = self.world.action_space
        num = self.elapsed.size
        action = np.asarray(action)
        shape = (num,) if space.discrete else (num, space.dim)
        if action.shape != shape:
            raise ValueError(f"action has shape {action.shape} for {num} envs; give shape {shape}")
        valid = np.isin(action, np.arange(space.dim)) if space.discrete else np.isfinite(action)
        if not valid.all():
            wanted = f"indices 0 to {space.dim - 1}" if space.discrete else "numbers in [-1, 1]"
            raise ValueError(f"action contains {action[~valid][0]}; give {wanted}")
        return action.astype(np.int64 if space.discrete else np.float64)


class WorldEnv(gymnasium.Env[np.ndarray, Any]):
    """One copy of a world as a Gymnasium environment that shows its frame (uint8, HWC).

    Args:
        world: a world, or the path ``package.module:Class`` of one built without arguments.
        render_mode: ``rgb_array`` or None; ``render`` returns the frame either way.
        action_repeat: world steps per agent step: rewards are summed, one frame is drawn.
        time_limit: agent steps until truncation; None keeps the world's own limit.

    Raises:
        ValueError: if a number is below 1, or an action has the wrong shape or values.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        world: World | str,
        render_mode: str | None = None,
        action_repeat: int = 1,
        time_limit: int | None = None,
    ):
        self._episodes = _Episodes(world, 1, action_repeat, time_limit)
        self.world = self._episodes.world
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, **_timing(self._episodes)}
        self.observation_space = _frame_space()
        self.action_space = _action_space(self.world.action_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; see ``gymnasium.Env.reset``."""
        super().reset(seed=seed)
        self._episodes.start([self.np_random], np.ones(1, dtype=bool))
        return self.render(), self._info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step; see ``gymnasium.Env.step``."""
        outcome = self._episodes.advance(np.asarray(action)[None], np.ones(1, dtype=bool))
        reward, terminated, truncated = (field.item() for field in outcome)
        return self.render(), reward, terminated, truncated, self._info()

    def render(self) -> np.ndarray:
        """The current frame."""
        return self.world.render(self._episodes.state)[0]

    def _info(self) -> dict[str, Any]:
        return {name: value.item() for name, value in self.world.info(self._episodes.state).items()}


class WorldVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """N copies of a world as one Gymnasium vector environment, stepped and drawn as a batch.

    Copy i seeded with s behaves as a ``WorldEnv`` seeded with s + i. The autoreset mode is
    NEXT_STEP: after a row with an episode's end, the next step ignores that copy's action and
    returns the first frame of its new episode with reward 0. Every step draws exactly one frame
    per copy, whatever the action repeat.

    Args:
        world, render_mode, action_repeat, time_limit: as for ``WorldEnv``.
        num_envs: N.

    Raises:
        ValueError: if a number is below 1, or an action has the wrong shape or values.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        world: World | str,
        num_envs: int = 1,
        render_mode: str | None = None,
        action_repeat: int = 1,
        time_limit: int | None = None,
    ):
        self._episodes = _Episodes(world, num_envs, action_repeat, time_limit)
        self.world = self._episodes.world
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, **_timing(self._episodes)}
        self.single_observation_space = _frame_space()
        self.single_action_space = _action_space(self.world.action_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator] = []
        self._ended = np.zeros(num_envs, dtype=bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode everywhere.

        ``seed`` is one number (copy i takes seed + i), one per copy, or None to go on with the
        generators as they are.
        """
        self._seed(seed)
        self._episodes.start(self._rngs, np.ones(self.num_envs, dtype=bool))
        self._ended[:] = False
        return self.world.render(self._episodes.state), self._info()

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One agent step everywhere; see ``gymnasium.vector.VectorEnv.step``."""
        starting = self._ended
        if starting.any():
            self._episodes.start(self._rngs, starting)
        outcome = self._episodes.advance(actions, ~starting)
        self._ended = outcome.terminated | outcome.truncated
        reward, terminated, truncated = outcome
        return self.world.render(self._episodes.state), reward, terminated, truncated, self._info()

    def render(self) -> tuple[np.ndarray, ...]:
        """The current frames."""
        return tuple(self.world.render(self._episodes.state))

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        if isinstance(seed, int | np.integer):
            seed = range(int(seed), int(seed) + self.num_envs)
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} envs; give one seed per env")
        rngs = self._rngs or [None] * self.num_envs
        self._rngs = [
            seeding.np_random(value)[0] if rng is None or value is not None else rng
            for rng, value in zip(rngs, seeds, strict=True)
        ]

    def _info(self) -> dict[str, Any]:
        info = self.world.info(self._episodes.state)
        # Gymnasium marks by "_name" which copies reported a value.
        return info | {f"_{name}": np.ones(self.num_envs, dtype=bool) for name in info}


def _timing(episodes: _Episodes) -> dict[str, float]:
    return {"render_fps": episodes.world.frame_rate / episodes.action_repeat}


def _frame_space() -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)


def _action_space(space: ActionSpace) -> gymnasium.spaces.Space:
    if space.discrete:
        return gymnasium.spaces.Discrete(space.dim)
    return gymnasium.spaces.Box(-1.0, 1.0, (space.dim,), np.float32)


def _replaced(old: np.ndarray, mask: np.ndarray, new: np.ndarray) -> np.ndarray:
    result = old.copy()
    result[mask] = new
    return result


def _where(mask: np.ndarray, chosen: WorldState, other: WorldState) -> WorldState:
    both = zip(chosen, other, strict=True)
    return type(chosen)(*(_replaced(old, mask, new[mask]) for new, old in both))
