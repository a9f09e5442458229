"""worldmodels: learn a latent simulator from pixels, then decide everything inside it."""

from typing import TYPE_CHECKING, Any

import worldmodels.envs  # noqa: F401  (registers the built-in worlds with Gymnasium)

if TYPE_CHECKING:
    from worldmodels.checkpoint import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # Imported on use: torch takes seconds that `worldmodels --help` need not wait.
    if name == "load":
        from worldmodels.checkpoint import load

        return load
    raise AttributeError(f"module worldmodels has no attribute '{name}'")
