"""One dream beside what really happened: the record that panels draw."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8


class DreamRecord(NamedTuple):
    """A stretch of T rows of an episode, as it was, as it was filtered, and as it was dreamt.

    The first ``context`` rows are seen by the model; over the other H = T - ``context`` it gets
    the actions alone. N futures are sampled from the same state.

    Attributes:
        truth: the frames.
        reconstruction: the model's view of each frame after having seen it (all T of them).
        dream: the frames of each future.
        reward: the rewards that arrived with ``truth``.
        reconstruction_reward: rewards read from the filtered states.
        dream_reward: rewards predicted along each future.
        context: number of rows that the dream starts from.
        start: the episode's row that ``truth[0]`` is.
    """

    truth: UInt8[np.ndarray, "T C h w"]
    reconstruction: UInt8[np.ndarray, "T C h w"]
    dream: UInt8[np.ndarray, "N H C h w"]
    reward: Float[np.ndarray, " T"]
    reconstruction_reward: Float[np.ndarray, " T"]
    dream_reward: Float[np.ndarray, "N H"]
    context: int
    start: int


def check_dream(record: DreamRecord) -> None:
    """Refuses a record whose parts do not fit together.

    Raises:
        ValueError: one line that names the part, its shape and the shape it must have.
    """
    rows, *image = record.truth.shape
    futures, horizon = record.dream.shape[:2]
    expected = {
        "reconstruction": (rows, *image),
        "dream": (futures, rows - record.context, *image),
        "reward": (rows,),
        "reconstruction_reward": (rows,),
        "dream_reward": (futures, rows - record.context),
    }
    for name, shape in expected.items():
        found = getattr(record, name).shape
        if found != shape:
            raise ValueError(
                f"dream record: {name} has shape {found}, with {rows} true frames and "
                f"context={record.context} it must have {shape}"
            )
    if record.context < 1 or horizon < 1 or futures < 1:
        raise ValueError(
            f"dream record has context={record.context}, {futures} futures of {horizon} steps: "
            "each must be at least 1"
        )
