"""The project's actions (numbers in [-1, 1], or one-hot) as an environment's own."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from worldmodels.types import ActionSpace


class ActionCodec(NamedTuple):
    """What an action is to the project, and how ``N A`` of them become the environment's."""

    space: ActionSpace
    decode: Callable[[np.ndarray], Any]


def action_codec(space: spaces.Space, name: str) -> ActionCodec:
    """The codec of one environment's action space.

    Raises:
        ValueError: when the space is neither Discrete nor a Box with finite bounds.
    """
    if isinstance(space, spaces.Discrete):
        return _choices(space)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ValueError(
                f"{name} has an unbounded action space {space}: wrap it so that its Box has finite "
                "low and high"
            )
        return _numbers(space)
    raise ValueError(
        f"{name} has the action space {space}: only Discrete and one-dimensional Box are "
        "supported; wrap it to one of these (gymnasium.wrappers.TransformAction, FlattenActions...)"
    )


def _choices(space: spaces.Discrete) -> ActionCodec:
    first = int(space.start)
    return ActionCodec(
        ActionSpace(int(space.n), True), lambda action: action.argmax(-1).astype(np.int64) + first
    )


def _numbers(space: spaces.Box) -> ActionCodec:
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)

    def decode(action: np.ndarray) -> np.ndarray:
        unit = (np.clip(action, -1, 1) + 1) / 2
        return np.clip(low + unit * (high - low), low, high).astype(space.dtype)

    return ActionCodec(ActionSpace(int(space.shape[0]), False), decode)
