"""`make_env`: one door for every environment."""

import difflib
from importlib import import_module
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import SyncVectorEnv, VectorEnv

import worldmodels.envs  # noqa: F401  (registers the built-in worlds)
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.wrappers import SingleEnvs, VectorEnvs
from worldmodels.types import ObsShape


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
            environment, a vector environment or a ``PixelEnv``); ``ALE/<Game>-v5``;
            ``dmc/<domain>-<task>``.
        num_envs: copies stepped together, in this process.
        size: height and width of the frames, in pixels.
        channels: 3 (RGB) or 1 (grey).
        action_repeat: environment frames per agent step.
        time_limit: agent steps until truncation; None leaves it to the environment.
        obs_key: the image's key, where the observation is a Dict with several images.
        options: keyword arguments of the environment itself.

    Raises:
        ValueError: when the environment does not exist, shows no image, or has an action space
            that is neither Discrete nor a bounded Box.
    """
    _check_arguments(num_envs, size, channels, action_repeat, time_limit)
    options = options or {}
    shape = (channels, *size)
    if id.startswith("ALE/"):
        from worldmodels.envs.atari import AtariPixelEnv

        return AtariPixelEnv(id, num_envs, size, channels, action_repeat, time_limit, options)
    if id.startswith("dmc/"):
        from worldmodels.envs.dmc import make_dmc

        copies = [make_dmc(id, size, action_repeat) for _ in range(num_envs)]
        # It repeats by itself, to render once per agent step.
        env = SingleEnvs(copies, id, shape, 1, time_limit)
        env.action_repeat = action_repeat
        return env
    if ":" in id:
        return _from_factory(id, num_envs, shape, action_repeat, time_limit, obs_key, options)
    spec = _find_spec(id)
    if _is_world(spec):
        timing = {"action_repeat": action_repeat, "time_limit": time_limit}
        vector = gymnasium.make_vec(
            spec, num_envs, vectorization_mode="vector_entry_point", **timing, **options
        )
        return VectorEnvs(vector, id, shape, action_repeat)
    copies = [_make(spec, options) for _ in range(num_envs)]
    return SingleEnvs(copies, id, shape, action_repeat, time_limit, obs_key)


def _make(spec: EnvSpec, options: dict[str, Any]) -> gymnasium.Env:
    try:
        # Most environments observe no image: ask for rendering, which costs nothing until used.
        return gymnasium.make(spec, render_mode="rgb_array", disable_env_checker=True, **options)
    except TypeError as error:
        if "render_mode" not in str(error):
            raise
        return gymnasium.make(spec, disable_env_checker=True, **options)


def _from_factory(
    id: str,
    num_envs: int,
    shape: ObsShape,
    action_repeat: int,
    time_limit: int | None,
    obs_key: str | None,
    options: dict[str, Any],
) -> PixelEnv:
    module, _, name = id.partition(":")
    try:
        factory = getattr(import_module(module), name)
    except ImportError as error:
        raise ValueError(
            f"env '{id}': cannot import {module} ({error}); is it installed?"
        ) from error
    except AttributeError as error:
        raise ValueError(f"env '{id}': module {module} has no {name}") from error
    first = factory(**options)
    if isinstance(first, PixelEnv):
        return first
    if isinstance(first, SyncVectorEnv):
        # Its copies are within reach: any autoreset mode then gives exact rows.
        return SingleEnvs(first.envs, id, shape, action_repeat, time_limit, obs_key)
    if isinstance(first, VectorEnv):
        if action_repeat != 1 or time_limit is not None:
            raise ValueError(
                f"env '{id}' is a vector environment: let {name} repeat actions and limit time, "
                "and leave action_repeat and time_limit out"
            )
        return VectorEnvs(first, id, shape, 1, obs_key)
    if not isinstance(first, gymnasium.Env):
        raise ValueError(
            f"env '{id}' made a {type(first).__name__}: return a gymnasium.Env, a VectorEnv or a "
            "PixelEnv"
        )
    copies = [first] + [factory(**options) for _ in range(num_envs - 1)]
    return SingleEnvs(copies, id, shape, action_repeat, time_limit, obs_key)


def _find_spec(id: str) -> EnvSpec:
    if id in gymnasium.registry:
        return gymnasium.registry[id]
    close = difflib.get_close_matches(id, gymnasium.registry, n=3, cutoff=0.5)
    raise ValueError(
        f"unknown environment '{id}': "
        + (f"did you mean {', '.join(close)}? " if close else "")
        + "Your own goes in as package.module:factory"
    )


def _is_world(spec: EnvSpec) -> bool:
    return spec.vector_entry_point == "worldmodels.envs.world:WorldVectorEnv"


def _check_arguments(
    num_envs: int, size: tuple[int, int], channels: int, repeat: int, limit: int | None
) -> None:
    counts = {"num_envs": num_envs, "action_repeat": repeat, "time_limit": limit}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: choose 1 or more")
    if min(size) < 16:
        raise ValueError(f"size={tuple(size)}: frames need at least 16 pixels a side")
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}: choose 3 (RGB) or 1 (grey)")
