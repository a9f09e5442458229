"""Exact pixel worlds: a batched simulator as pure functions, and its running episodes."""

import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.checks import check_at_least, did_you_mean
from worldmodels.types import ActionSpace

WorldState = Any
"""The state of N copies of a world: a NamedTuple of arrays that share the leading axis N."""


class WorldStep(NamedTuple):
    """The result of one step of N copies of a world."""

    state: WorldState
    reward: Float[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]


class World(ABC):
    """A stateless simulator of N copies at once: the same arguments give the same result.

    It can therefore also serve as the exact model for a planner that steps thousands of candidate
    states. Randomness enters through the generator given to ``reset`` alone; a world with noise in
    its steps keeps a random key per copy in its state and derives the noise from it.

    Attributes:
        action_space: size and kind of an action.
        time_limit: world steps after which an episode is truncated.
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


def build_world(world: World | str, arguments: Mapping[str, Any] | None = None) -> World:
    """A world, given itself or by its path.

    Args:
        world: a world, or the path ``package.module:Class`` of one.
        arguments: of that class, where a path is given.

    Raises:
        TypeError: when it is no world, or has no such argument.
        ValueError: when arguments come with a world that is built already.
    """
    if not isinstance(world, str):
        if arguments:
            raise ValueError(f"arguments={arguments!r}: the world is built already; leave them out")
        return _checked(world, world)
    make = pkgutil.resolve_name(world)
    known = inspect.signature(make).parameters if arguments else {}
    for name in arguments or {}:
        if name not in known:
            hint = did_you_mean(name, known)
            raise TypeError(f"{make.__name__} has no argument '{name}': {hint}")
    return _checked(make(**arguments or {}), world)


def _checked(made: Any, asked: World | str) -> World:
    if not isinstance(made, World):
        raise TypeError(f"world is {asked!r}; give a World or the path 'package.module:Class'")
    return made


class Outcome(NamedTuple):
    """The result of one agent step of N running episodes."""

    reward: Float[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]
    truncated: Bool[np.ndarray, " N"]


class Episodes:
    """N running episodes of one world, for both of its Gymnasium environments."""

    def __init__(self, world: World, num: int, action_repeat: int, time_limit: int | None):
        self.world = world
        numbers = {"num_envs": num, "action_repeat": action_repeat, "time_limit": time_limit}
        check_at_least(type(world).__name__, 1, **numbers)
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


def _replaced(old: np.ndarray, mask: np.ndarray, new: np.ndarray) -> np.ndarray:
    result = old.copy()
    result[mask] = new
    return result


def _where(mask: np.ndarray, chosen: WorldState, other: WorldState) -> WorldState:
    both = zip(chosen, other, strict=True)
    return type(chosen)(*(_replaced(old, mask, new[mask]) for new, old in both))
