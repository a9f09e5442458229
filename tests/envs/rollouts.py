"""Whole episodes of a world under a policy, for tests of its returns."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from worldmodels.envs.world import World, WorldState


class Episodes(NamedTuple):
    """Undiscounted returns, which episodes reached the time limit, and the last states."""

    returns: np.ndarray
    survived: np.ndarray
    state: WorldState


def play(world: World, policy: Callable[[WorldState], np.ndarray], start: WorldState) -> Episodes:
    state = start
    returns = np.zeros(len(start[0]))
    survived = np.ones(len(start[0]), dtype=bool)
    for _ in range(world.time_limit):
        step = world.step(state, policy(state))
        returns += np.where(survived, step.reward, 0.0)
        survived &= ~step.terminated
        state = step.state
    return Episodes(returns, survived, state)


def random_policy(world: World, seed: int = 0) -> Callable[[WorldState], np.ndarray]:
    rng = np.random.default_rng(seed)

    def act(state: WorldState) -> np.ndarray:
        num, space = len(state[0]), world.action_space
        if space.discrete:
            return rng.integers(space.dim, size=num)
        return rng.uniform(-1, 1, (num, space.dim))

    return act
