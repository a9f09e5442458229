"""The interface of every environment: batches of uint8 frames and scaled actions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from worldmodels.types import ActionSpace, ObsShape


class Frames(NamedTuple):
    """The rows of N environments after one step, in the arrival convention of ``types.py``.

    One row per environment and step. After a row with ``is_last`` the next step ignores that
    environment's action, resets it, and returns the first row of a new episode: ``is_first`` set
    and ``reward`` 0. ``is_last`` is termination or truncation; ``is_terminal`` termination alone.
    """

    obs: UInt8[np.ndarray, "N C h w"]
    reward: Float32[np.ndarray, " N"]
    is_first: Bool[np.ndarray, " N"]
    is_terminal: Bool[np.ndarray, " N"]
    is_last: Bool[np.ndarray, " N"]


def row_bytes(obs_shape: ObsShape, action_space: ActionSpace) -> int:
    """Bytes of one row in memory: a frame, float32 action and reward, two flags."""
    return prod(obs_shape) + 4 * action_space.dim + 4 + 2


class PixelEnv(ABC):
    """N environments stepped together: uint8 images in, actions in [-1, 1] or one-hot out.

    Attributes:
        num_envs: N.
        obs_shape: ``(C, h, w)`` of every frame.
        action_space: size and kind of an action.
        name: the id it was made from.
        frame_rate: agent steps per second of the simulated world (for video).
        action_repeat: environment frames per agent step.
        arguments: of ``make_env``, which make it again; empty for one that was made otherwise.
    """

    num_envs: int
    obs_shape: ObsShape
    action_space: ActionSpace
    name: str
    frame_rate: float
    action_repeat: int
    arguments: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def reset(self, seed: int) -> Frames:
        """Starts a new episode everywhere; the same seed gives the same episodes."""

    @abstractmethod
    def step(self, action: Float32[np.ndarray, "N A"]) -> Frames:
        """One agent step (``action_repeat`` frames) everywhere."""

    @abstractmethod
    def close(self) -> None:
        """Frees renderers and processes."""
