"""One recorded episode, and the check that it passes before it is stored."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from worldmodels.types import ActionSpace, ObsShape


class Episode(NamedTuple):
    """A whole episode in the arrival convention of ``types.py``: T actions, T + 1 rows.

    ``policy`` names the behaviour policy and ``round`` the round of data collection. One agent
    plays an episode from start to end, so both hold for each of its transitions.
    """

    obs: UInt8[np.ndarray, "T C h w"]
    action: Float32[np.ndarray, "T A"]
    reward: Float32[np.ndarray, " T"]
    is_first: Bool[np.ndarray, " T"]
    is_terminal: Bool[np.ndarray, " T"]
    policy: str
    round: int

    @property
    def rows(self) -> int:
        """Frames in the episode: its actions plus one."""
        return len(self.reward)

    @property
    def length(self) -> int:
        """Actions (agent steps) in the episode."""
        return len(self.reward) - 1

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(field.nbytes for field in self[:5])


def make_episode(
    obs: UInt8[np.ndarray, "T C h w"],
    action: Float32[np.ndarray, "T A"],
    reward: Float32[np.ndarray, " T"],
    terminal: bool,
    policy: str,
    round: int,
) -> Episode:
    """An episode from its rows; ``terminal`` tells termination from a time limit."""
    is_first = np.arange(len(reward)) == 0
    is_terminal = np.arange(len(reward)) == (len(reward) - 1 if terminal else -1)
    return Episode(obs, action, reward, is_first, is_terminal, policy, round)


def check_episode(episode: Episode, obs_shape: ObsShape, action_space: ActionSpace) -> None:
    """Refuses an episode that does not fit its data set or breaks the arrival convention.

    Raises:
        ValueError: one line that names the field, its value and the fix.
    """
    _check_arrays(episode, obs_shape, action_space)
    _check_rows(episode)
    action = episode.action[1:]
    if action_space.discrete:
        valid = ((action == 0) | (action == 1)).all(axis=1) & (action.sum(axis=1) == 1)
        wanted = "one-hot rows"
    else:
        valid = (np.abs(action) <= 1).all(axis=1)
        wanted = "numbers in [-1, 1]"
    if not valid.all():
        row = int(np.argmin(valid))
        raise ValueError(f"episode.action[{row + 1}] is {action[row]}: give {wanted}")


def _check_arrays(episode: Episode, obs_shape: ObsShape, action_space: ActionSpace) -> None:
    rows = episode.rows
    if rows < 2:
        raise ValueError(f"episode has {rows} rows: give at least 2 (one action, two frames)")
    expected = {
        "obs": (np.uint8, (rows, *obs_shape)),
        "action": (np.float32, (rows, action_space.dim)),
        "reward": (np.float32, (rows,)),
        "is_first": (np.bool_, (rows,)),
        "is_terminal": (np.bool_, (rows,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(episode, name)
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(
                f"episode.{name} is {array.dtype} {array.shape}: "
                f"this data set takes {np.dtype(dtype)} {shape}"
            )
    if not episode.policy or episode.round < 0:
        raise ValueError(
            f"episode has policy='{episode.policy}', round={episode.round}: "
            "name the policy, and count rounds from 0"
        )


def _check_rows(episode: Episode) -> None:
    if not episode.is_first[0] or episode.is_first[1:].any():
        rows = np.flatnonzero(episode.is_first).tolist()
        raise ValueError(f"episode.is_first is set in rows {rows}: set it in row 0 alone")
    if episode.is_terminal[:-1].any():
        rows = np.flatnonzero(episode.is_terminal).tolist()
        raise ValueError(
            f"episode.is_terminal is set in rows {rows}: "
            f"only the last row ({episode.length}) may end an episode"
        )
    if episode.reward[0] != 0 or episode.action[0].any():
        raise ValueError(
            f"episode row 0 has reward {episode.reward[0]} and action {episode.action[0]}: "
            "both are 0 in the first row, nothing led there"
        )
    if not np.isfinite(episode.reward).all():
        row = int(np.argmin(np.isfinite(episode.reward)))
        raise ValueError(f"episode.reward[{row}] is {episode.reward[row]}: give finite numbers")
