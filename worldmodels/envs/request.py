"""The arguments of `make_env`, checked before anything is made."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from worldmodels.checks import check_at_least, did_you_mean
from worldmodels.types import ObsShape


class Request(NamedTuple):
    """The arguments of `make_env`, with ``size`` and ``channels`` as one shape."""

    id: str
    num_envs: int
    obs_shape: ObsShape
    action_repeat: int
    time_limit: int | None
    obs_key: str | None
    options: dict[str, Any]

    def check(self) -> None:
        """Refuses numbers that no environment can have.

        Raises:
            ValueError: naming the argument, its value and the fix.
        """
        check_at_least(
            "make_env",
            1,
            num_envs=self.num_envs,
            action_repeat=self.action_repeat,
            time_limit=self.time_limit,
        )
        channels, *size = self.obs_shape
        if min(size) < 16:
            raise ValueError(f"make_env: size={tuple(size)}: choose at least 16 pixels a side")
        if channels not in (1, 3):
            raise ValueError(f"make_env: channels={channels}: choose 3 (RGB) or 1 (grey)")

    def check_options(self, known: Iterable[str]) -> None:
        """Refuses options that the environment does not have.

        Raises:
            ValueError: naming the first unknown option and the closest known one.
        """
        check_options(self.id, self.options, known)

    def no_key(self) -> None:
        """Refuses ``obs_key`` where there is one image and no Dict.

        Raises:
            ValueError: when it is given.
        """
        if self.obs_key is not None:
            raise ValueError(f"obs_key='{self.obs_key}': {self.id} has one image; leave it out")


def check_options(id: str, options: Iterable[str], known: Iterable[str]) -> None:
    """Refuses options that the environment ``id`` does not have.

    Raises:
        ValueError: naming the first unknown option and the closest known one.
    """
    known = sorted(known)
    for name in options:
        if name not in known:
            raise ValueError(f"env '{id}' has no option '{name}': {did_you_mean(name, known)}")


def unknown(id: str, known: Iterable[str]) -> ValueError:
    """The error for an id that does not exist, with the closest ones that do."""
    hint = did_you_mean(id, known, "see gymnasium.pprint_registry()", most=3)
    return ValueError(
        f"unknown environment '{id}': {hint} (your own goes in as package.module:factory)"
    )
