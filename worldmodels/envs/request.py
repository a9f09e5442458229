"""What the user asked of `make_env`, checked at the door."""

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple

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
        counts = {
            "num_envs": self.num_envs,
            "action_repeat": self.action_repeat,
            "time_limit": self.time_limit,
        }
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: choose 1 or more")
        channels, *size = self.obs_shape
        if min(size) < 16:
            raise ValueError(f"size={tuple(size)}: frames need at least 16 pixels a side")
        if channels not in (1, 3):
            raise ValueError(f"channels={channels}: choose 3 (RGB) or 1 (grey)")

    def check_options(self, known: Iterable[str]) -> None:
        """Refuses options that the environment does not have.

        Raises:
            ValueError: naming the first unknown option and the known ones.
        """
        known = sorted(known)
        for name in self.options:
            if name not in known:
                raise ValueError(
                    f"env '{self.id}' has no option '{name}': choose from {', '.join(known)}"
                )

    def no_key(self) -> None:
        """Refuses ``obs_key`` where there is one image and no Dict.

        Raises:
            ValueError: when it is given.
        """
        if self.obs_key is not None:
            raise ValueError(f"obs_key='{self.obs_key}': {self.id} has one image; leave it out")


def unknown(id: str, known: Iterable[str]) -> ValueError:
    """The error for an id that does not exist, with the closest ones that do."""
    known = list(known)
    lower = {name.lower(): name for name in known}
    close = [lower[name] for name in difflib.get_close_matches(id.lower(), lower, 3, 0.5)]
    # A name without its version, "CartPole", is what people type.
    versions = [name for name in known if name.rpartition("-v")[0] == id]
    close = versions[::-1] or close
    hint = f"did you mean {', '.join(close)}?" if close else "see gymnasium.pprint_registry()"
    return ValueError(
        f"unknown environment '{id}': {hint} (your own goes in as package.module:factory)"
    )
