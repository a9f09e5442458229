"""A world whose every frame and reward can be written down by hand: for tests of alignment."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from worldmodels.checks import check_at_least
from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.drawing import SIDE
from worldmodels.types import ActionSpace


class CountingState(NamedTuple):
    """Steps since the reset, and the action that led here (-1 at the start)."""

    steps: Int[np.ndarray, " N"]
    action: Int[np.ndarray, " N"]


class Counting(World):
    """Counts its steps: the frame after t steps has the value t (mod 256), the reward on it is t.

    The top left ``block`` x ``block`` pixels show the action that led to the frame: 64, 128 or
    192 for choices 0, 1, 2, and 0 at the start.

    Args:
        length: steps until the episode terminates; None never terminates.
        time_limit: steps until it is truncated.

    Raises:
        ValueError: if either is below 1.
    """

    action_space = ActionSpace(3, True)
    frame_rate = 10.0
    block = 8

    def __init__(self, length: int | None = None, time_limit: int = 10):
        check_at_least("Counting", 1, length=length, time_limit=time_limit)
        self.length = length
        self.time_limit = time_limit

    def reset(self, rng: np.random.Generator, num: int) -> CountingState:
        """Count 0, no action yet; nothing is random."""
        return CountingState(np.zeros(num, dtype=np.int64), np.full(num, -1))

    def step(self, state: CountingState, action: Int[np.ndarray, " N"]) -> WorldStep:
        """Adds 1 to the count, which is the reward too."""
        steps = state.steps + 1
        ended = np.zeros(steps.shape, dtype=bool) if self.length is None else steps >= self.length
        return WorldStep(CountingState(steps, action), steps.astype(np.float64), ended)

    def render(self, state: CountingState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """Flat frames of the count, with the action's block."""
        frames = np.empty((len(state.steps), SIDE, SIDE, 3), dtype=np.uint8)
        frames[:] = (state.steps % 256).astype(np.uint8)[:, None, None, None]
        code = (64 * (state.action + 1)).astype(np.uint8)
        frames[:, : self.block, : self.block] = code[:, None, None, None]
        return frames

    def info(self, state: CountingState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """``position``: the count."""
        return {"position": state.steps}
