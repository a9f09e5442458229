"""What every environment looks like to the rest of the project."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from worldmodels.types import ActionSpace, ObsShape


class Frames(NamedTuple):
    """What N environments show after one step, in the arrival convention of ``types.py``.

    One row per environment and step. After a row with ``is_last`` the next step ignores that
    environment's action, resets it, and returns the first row of a new episode: ``is_first`` set
    and ``reward`` 0. ``is_last`` is termination or truncation; ``is_terminal`` termination alone.
    """

    obs: UInt8[np.ndarray, "N C h w"]
    reward: Float32[np.ndarray, " N"]
    is_first: Bool[np.ndarray, " N"]
    is_terminal: Bool[np.ndarray, " N"]
    is_last: Bool[np.ndarray, " N"]


class PixelEnv(ABC):
    """N environments stepped together: uint8 images in, actions in [-1, 1] or one-hot out.

    Attributes:
        num_envs: N.
        obs_shape: ``(C, h, w)`` of every frame.
        action_space: what an action is.
        name: the id it was made from.
        frame_rate: agent steps per second of the simulated world (for video).
        action_repeat: environment frames per agent step.
    """

    num_envs: int
    obs_shape: ObsShape
    action_space: ActionSpace
    name: str
    frame_rate: float
    action_repeat: int

    @abstractmethod
    def reset(self, seed: int) -> Frames:
        """StartStates a new episode everywhere; the same seed gives the same episodes."""

    @abstractmethod
    def step(self, action: Float32[np.ndarray, "N A"]) -> Frames:
        """One agent step (``action_repeat`` frames) everywhere."""

    @abstractmethod
    def close(self) -> None:
        """Frees renderers and processes."""
