"""The project's actions (numbers in [-1, 1], or one-hot) in an environment's own format."""

from abc import ABC, abstractmethod
from math import prod

import numpy as np
from gymnasium import spaces
from jaxtyping import Float32, Shaped

from worldmodels.types import ActionSpace

# Some environments write "no bound" as the largest float: no action can be scaled to that.
_UNBOUNDED = 1e30


class ActionCodec(ABC):
    """Translates N of the project's actions into those of an environment.

    Attributes:
        space: size and kind of the project's actions.
        name: the environment's id, for messages.
    """

    space: ActionSpace
    name: str

    def decode(
        self, action: Float32[np.ndarray, "N A"], num_envs: int
    ) -> Shaped[np.ndarray, "N ..."]:
        """The environment's own actions, one per row.

        Raises:
            ValueError: when there is not one row for each environment, the width is not that of
                the action space, or a number is not finite.
        """
        if len(action) != num_envs:
            raise ValueError(f"{self.name}: {len(action)} actions for {num_envs} environments")
        if action.ndim != 2 or action.shape[1] != self.space.dim:
            raise ValueError(
                f"{self.name}: actions of shape {action.shape}; give (N, {self.space.dim})"
            )
        if not np.isfinite(action).all():
            raise ValueError(f"{self.name}: an action is not finite: {action.tolist()}")
        return self._decode(action)

    @abstractmethod
    def _decode(self, action: np.ndarray) -> np.ndarray: ...


class Choices(ActionCodec):
    """One-hot rows as the numbers of a Discrete space (the largest entry wins)."""

    def __init__(self, space: spaces.Discrete, name: str):
        self.space, self.name = ActionSpace(int(space.n), True), name
        self._start = int(space.start)

    def _decode(self, action: np.ndarray) -> np.ndarray:
        return action.argmax(-1).astype(np.int64) + self._start


class Numbers(ActionCodec):
    """Rows in [-1, 1] (clipped) as points of a bounded Box, whatever its shape."""

    def __init__(self, space: spaces.Box, name: str):
        self.space, self.name = ActionSpace(prod(space.shape), False), name
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._dtype = space.dtype

    def _decode(self, action: np.ndarray) -> np.ndarray:
        unit = (np.clip(action.astype(np.float64), -1, 1) + 1) / 2
        unit = unit.reshape(len(action), *self._low.shape)
        # Clipped once more: rounding may step over a bound by one float.
        scaled = np.clip(self._low + unit * (self._high - self._low), self._low, self._high)
        whole = np.issubdtype(self._dtype, np.integer)
        return (np.rint(scaled) if whole else scaled).astype(self._dtype)


def random_actions(
    space: ActionSpace, num: int, rng: np.random.Generator
) -> Float32[np.ndarray, "N A"]:
    """Uniform actions: numbers in [-1, 1], or one-hot choices."""
    if space.discrete:
        return np.eye(space.dim, dtype=np.float32)[rng.integers(space.dim, size=num)]
    return rng.uniform(-1, 1, (num, space.dim)).astype(np.float32)


def action_codec(space: spaces.Space, name: str) -> ActionCodec:
    """The codec of one environment's action space.

    Raises:
        ValueError: when the space is neither Discrete nor a Box with finite bounds.
    """
    if isinstance(space, spaces.Discrete):
        return Choices(space, name)
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"{name} has the action space {space}: only Discrete and Box are supported; turn it "
            "into one of them with gymnasium.wrappers.TransformAction"
        )
    if max(np.abs(space.low).max(), np.abs(space.high).max()) > _UNBOUNDED:
        raise ValueError(
            f"{name} has the unbounded action space {space}: give its Box finite low and high, so "
            "that actions can be scaled from [-1, 1]"
        )
    return Numbers(space, name)
