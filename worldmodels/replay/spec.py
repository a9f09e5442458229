"""What all episodes of a data set have in common, kept in its ``dataset.json``."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from worldmodels.envs.base import PixelEnv
from worldmodels.replay.files import write_text
from worldmodels.types import ActionSpace, ObsShape

FORMAT = 1
FILE = "dataset.json"


class DatasetSpec(NamedTuple):
    """The world a data set shows.

    Attributes:
        obs_shape: ``(C, h, w)`` of every frame.
        action_space: size and kind of an action.
        env: the id the environment was made from.
        frame_rate: agent steps per second of the simulated world.
        action_repeat: environment frames per agent step.
        options: further arguments of ``make_env`` that change the recorded episodes. They must be
            the same on reopening, so leave out those without effect, such as ``num_envs``.
    """

    obs_shape: ObsShape
    action_space: ActionSpace
    env: str
    frame_rate: float
    action_repeat: int
    options: dict[str, Any]

    @classmethod
    def of(cls, env: PixelEnv, options: dict[str, Any] | None = None) -> "DatasetSpec":
        """The spec of recordings from ``env``."""
        shape, space = env.obs_shape, env.action_space
        return cls(shape, space, env.name, env.frame_rate, env.action_repeat, options or {})


def read_spec(folder: Path) -> DatasetSpec:
    """The spec in a data set's folder.

    Raises:
        FileNotFoundError: when the folder is no data set.
        ValueError: when the file is damaged, or a newer version wrote it.
    """
    file = folder / FILE
    if not file.exists():
        raise FileNotFoundError(
            f"no data set in {folder}: expected {file}; record one with `worldmodels collect`"
        )
    try:
        about = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}): restore it, the shards need it") from error
    if about["format"] > FORMAT:
        raise ValueError(
            f"{file} has format {about['format']}, this version reads {FORMAT}: update worldmodels"
        )
    del about["format"]
    about["obs_shape"] = tuple(about["obs_shape"])
    about["action_space"] = ActionSpace(**about["action_space"])
    return DatasetSpec(**about)


def settle_spec(folder: Path, spec: DatasetSpec) -> DatasetSpec:
    """Writes the spec into a new data set; in an existing one it must be the same.

    Raises:
        ValueError: when the data set was recorded under another spec.
    """
    about = {"format": FORMAT, **spec._asdict(), "action_space": spec.action_space._asdict()}
    if not (folder / FILE).exists():
        write_text(folder / FILE, json.dumps(about, indent=1) + "\n")
    recorded = read_spec(folder)
    # Through JSON once, so that a tuple given equals the list read back.
    given = spec._replace(options=json.loads(json.dumps(spec.options)))
    for name, value in given._asdict().items():
        if value != getattr(recorded, name):
            raise ValueError(
                f"{folder} was recorded with {name}={getattr(recorded, name)}, not {value}: "
                "choose another folder, or the same environment"
            )
    return recorded
