"""`make_env`: one function for the environments of every provider."""

from typing import Any

from worldmodels.envs.base import PixelEnv
from worldmodels.envs.factories import make_from_factory, make_registered
from worldmodels.envs.request import Request


def make_env(
    id: str,
    num_envs: int = 1,
    size: tuple[int, int] = (64, 64),
    channels: int = 3,
    action_repeat: int = 1,
    time_limit: int | None = None,
    obs_key: str | None = None,
    options: dict[str, Any] | None = None,
) -> PixelEnv:
    """Makes N environments that show images and take scaled actions.

    Args:
        id: any Gymnasium id; ``package.module:factory`` (a callable that returns a Gymnasium
            environment, a vector environment or a ``PixelEnv``; one that has a parameter
            ``num_envs`` is given it); ``ALE/<Game>-v5``; ``dmc/<domain>-<task>``.
        num_envs: copies stepped together, in this process.
        size: height and width of the frames, in pixels.
        channels: 3 (RGB) or 1 (grey).
        action_repeat: environment frames per agent step, of Atari too (where 4 is customary).
        time_limit: agent steps until truncation; None leaves it to the environment, whose own
            limit stays in force either way.
        obs_key: the image's key, where the observation is a Dict with several images.
        options: keyword arguments of the environment itself.

    Raises:
        ValueError: when the environment does not exist, shows no image, or has an action space
            that is neither Discrete nor a bounded Box.
    """
    height, width = size
    # Gymnasium's notation for "import this first"; ALE's games are made below.
    id = id.removeprefix("ale_py:")
    request = Request(
        id, num_envs, (channels, height, width), action_repeat, time_limit, obs_key, options or {}
    )
    request.check()
    env = _make(request)
    env.arguments = {
        "id": id, "num_envs": num_envs, "size": list(size), "channels": channels,
        "action_repeat": action_repeat, "time_limit": time_limit, "obs_key": obs_key,
        "options": options,
    }  # fmt: skip
    return env


def _make(request: Request) -> PixelEnv:
    id = request.id
    # Imported on use: they need packages that the other environments do without.
    if id.startswith("ALE/"):
        from worldmodels.envs.atari import AtariPixelEnv

        request.no_key()
        channels, height, width = request.obs_shape
        shape = (request.num_envs, (height, width), channels)
        return AtariPixelEnv(id, *shape, request.action_repeat, request.time_limit, request.options)
    if id.startswith("dmc/"):
        from worldmodels.envs.dmc import make_dmc

        return make_dmc(request)
    return make_from_factory(request) if ":" in id else make_registered(request)
