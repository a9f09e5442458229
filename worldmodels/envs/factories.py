"""Environments from Gymnasium's registry, and from the user's own factories."""

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from itertools import chain
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.error import Error as GymnasiumError
from gymnasium.vector import VectorEnv

import worldmodels.envs  # noqa: F401  (registers the built-in worlds)
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.images import find_image
from worldmodels.envs.request import Request, unknown
from worldmodels.envs.vector import VectorEnvs
from worldmodels.envs.wrappers import SingleEnvs


def make_registered(request: Request) -> PixelEnv:
    """Makes an environment of Gymnasium's registry.

    Its vector version serves where it has one that observes images and does all that is asked
    (the built-in worlds' do): it steps the copies as a batch. Any other is made N times.

    Raises:
        ValueError: when the id is unknown, or the environment cannot be made.
    """
    if request.id not in gymnasium.registry:
        raise unknown(request.id, gymnasium.registry)
    spec = gymnasium.registry[request.id]
    try:
        _check_options(request, _creator(spec.entry_point), "max_episode_steps")
        vector = _vectorised(spec, request)
        if vector is not None:
            name, shape, repeat = request.id, request.obs_shape, request.action_repeat
            return VectorEnvs(vector, name, shape, repeat, request.obs_key)
        return _singles(request, lambda: _make(spec, request.options))
    except (GymnasiumError, ImportError) as error:
        # Gymnasium's message names the missing package or the wrong argument.
        raise ValueError(f"env '{request.id}' cannot be made: {error}") from error


def make_from_factory(request: Request) -> PixelEnv:
    """Makes an environment from ``package.module:factory``.

    Raises:
        ValueError: when there is no such factory, or it makes something else.
    """
    module, _, name = request.id.partition(":")
    factory = _find_factory(request.id, module, name)
    if factory is None:
        # Gymnasium's own notation: the module registers the id on import.
        return make_registered(request._replace(id=name))
    _check_options(request, factory)
    parameters = inspect.signature(factory).parameters
    many = {"num_envs": request.num_envs} if "num_envs" in parameters else {}
    first = factory(**many, **request.options)
    if isinstance(first, gymnasium.Env):
        rest = (factory(**many, **request.options) for _ in range(request.num_envs - 1))
        return _singles(request, chain([first], rest).__next__)
    if not isinstance(first, VectorEnv | PixelEnv):
        raise ValueError(
            f"env '{request.id}' made a {type(first).__name__}: return a gymnasium.Env, a "
            "gymnasium.vector.VectorEnv or a PixelEnv"
        )
    _check_batch(request, first, name)
    if isinstance(first, PixelEnv):
        return first
    return VectorEnvs(first, request.id, request.obs_shape, 1, request.obs_key)


def _singles(request: Request, make: Callable[[], gymnasium.Env]) -> SingleEnvs:
    return SingleEnvs(
        [make() for _ in range(request.num_envs)],
        request.id,
        request.obs_shape,
        request.action_repeat,
        request.time_limit,
        request.obs_key,
    )


def _make(spec: EnvSpec, options: dict[str, Any]) -> gymnasium.Env:
    # Most environments observe no image: ask for rendering, which costs nothing until used.
    if "render_mode" in options or not _renders(spec):
        return gymnasium.make(spec, disable_env_checker=True, **options)
    return gymnasium.make(spec, render_mode="rgb_array", disable_env_checker=True, **options)


def _renders(spec: EnvSpec) -> bool:
    creator = _creator(spec.entry_point)
    metadata = getattr(creator, "metadata", None) or {}
    # A function has no metadata: it renders if it has the argument.
    asked = not isinstance(creator, type) and "render_mode" in inspect.signature(creator).parameters
    return asked or "rgb_array" in metadata.get("render_modes", [])


def _creator(entry_point: Any) -> Callable[..., Any]:
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _vectorised(spec: EnvSpec, request: Request) -> VectorEnv | None:
    # Vector environments limit time themselves: Gymnasium's option is for single ones.
    if spec.vector_entry_point is None or "max_episode_steps" in request.options:
        return None
    timing: dict[str, Any] = {}
    if request.action_repeat > 1 or request.time_limit is not None:
        timing = {"action_repeat": request.action_repeat, "time_limit": request.time_limit}
        if (
            not timing.keys()
            <= inspect.signature(_creator(spec.vector_entry_point)).parameters.keys()
        ):
            return None
    vector = gymnasium.make_vec(
        spec, request.num_envs, vectorization_mode="vector_entry_point", **timing, **request.options
    )
    if find_image(vector.single_observation_space, request.obs_key, request.id).rendered:
        vector.close()
        return None
    return vector


def _find_factory(id: str, module: str, name: str) -> Callable[..., Any] | None:
    try:
        import_module(module)
    except ImportError as error:
        raise ValueError(
            f"env '{id}': cannot import {module} ({error}); install it, or put its folder on "
            "PYTHONPATH"
        ) from error
    if name in gymnasium.registry:
        return None
    try:
        factory = pkgutil.resolve_name(f"{module}:{name}")
    except (AttributeError, ValueError) as error:
        raise ValueError(
            f"env '{id}': {module} has no '{name}', neither a factory nor an id it registers"
        ) from error
    if not callable(factory):
        raise ValueError(
            f"env '{id}': {name} is a {type(factory).__name__}; name a function or class that "
            "makes the environment"
        )
    return factory


def _check_options(request: Request, creator: Callable[..., Any], *more: str) -> None:
    parameters = inspect.signature(creator).parameters.values()
    if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        request.check_options([parameter.name for parameter in parameters] + list(more))


def _check_batch(request: Request, env: VectorEnv | PixelEnv, name: str) -> None:
    """Refuses settings that differ from those of a batch that is made already."""
    if env.num_envs != request.num_envs:
        raise ValueError(
            f"env '{request.id}' made {env.num_envs} copies, num_envs={request.num_envs}: set "
            f"num_envs={env.num_envs}, or let {name} take num_envs"
        )
    if isinstance(env, PixelEnv) and env.obs_shape != request.obs_shape:
        channels, *size = env.obs_shape
        raise ValueError(
            f"env '{request.id}' shows {env.obs_shape}, asked for {request.obs_shape}: set "
            f"size={tuple(size)} and channels={channels}"
        )
    repeat = env.action_repeat if isinstance(env, PixelEnv) else 1
    if request.action_repeat != repeat or request.time_limit is not None:
        raise ValueError(
            f"env '{request.id}' is a batch made by {name}: let {name} repeat actions and limit "
            f"time, leave time_limit out and action_repeat at {repeat}"
        )
