"""The DeepMind Control Suite (extra ``dmc``), rendered by MuJoCo."""

import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from jaxtyping import Float, UInt8

from worldmodels.envs.request import Request, unknown
from worldmodels.envs.wrappers import SingleEnvs

_FIX = (
    "install EGL (Debian, Ubuntu: apt-get install libegl1 libgl1-mesa-dri) and set MUJOCO_GL=egl, "
    "or MUJOCO_GL=glfw where there is a display"
)


class DmcOptions(NamedTuple):
    """The options of a task that ``make_env(options=...)`` may set.

    Attributes:
        camera: number or name of the camera that films it; when None, the one of published
            scores: 2 for the quadruped, 0 for all else.
        task_kwargs: arguments of the task, such as ``time_limit`` in seconds.
    """

    camera: int | str | None = None
    task_kwargs: dict[str, Any] | None = None


def make_dmc(request: Request) -> SingleEnvs:
    """Makes N copies of ``dmc/<domain>-<task>``; each renders once per agent step.

    Raises:
        ValueError: when the task, an option or the camera is unknown, ``obs_key`` is given, the
            extra is not installed, or nothing can be rendered on this machine.
    """
    request.no_key()
    request.check_options(DmcOptions._fields)
    suite = _import_suite(request.id)
    tasks = {f"dmc/{domain}-{task}": (domain, task) for domain, task in suite.ALL_TASKS}
    if request.id not in tasks:
        raise unknown(request.id, tasks)
    domain, task = tasks[request.id]
    options = DmcOptions(**request.options)
    size = request.obs_shape[1:]
    loaded = [
        suite.load(domain, task, task_kwargs=options.task_kwargs) for _ in range(request.num_envs)
    ]
    for env in loaded:
        _make_room(env, size)
    camera = default_camera(domain) if options.camera is None else options.camera
    copies = [DmcEnv(env, size, camera) for env in loaded]
    try:
        # A broken renderer fails on its first frame only: draw one now.
        copies[0].render()
    except _rendering_errors() as error:
        raise ValueError(f"env '{request.id}' cannot render ({error}): {_FIX}") from error
    except ValueError as error:
        raise ValueError(
            f"env '{request.id}' has no camera={camera!r} ({error}): leave it out, "
            f"{default_camera(domain)} films this task"
        ) from error
    repeat, limit = request.action_repeat, request.time_limit
    return SingleEnvs(copies, request.id, request.obs_shape, repeat, limit)


def default_camera(domain: str) -> int:
    """The camera that films a domain where none is asked for.

    Reference: Hafner et al., 2023 (DreamerV3), released code.
    """
    return 2 if domain == "quadruped" else 0


class DmcEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A control task as a Gymnasium environment: it observes its vectors, ``render`` films it.

    Args:
        env: a ``dm_control.rl.control.Environment``.
        size: height and width of the frames.
        camera: number or name of a camera.
    """

    render_mode = "rgb_array"

    def __init__(self, env: Any, size: tuple[int, int], camera: int | str = 0):
        self._env, self._size, self._camera = env, size, camera
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 1 / env.control_timestep()}
        actions = env.action_spec()
        # A spec may give one bound for all numbers.
        low, high = (np.broadcast_to(x, actions.shape) for x in (actions.minimum, actions.maximum))
        self.action_space = Box(low, high, dtype=np.float64)
        length = sum(int(np.prod(spec.shape)) for spec in env.observation_spec().values())
        self.observation_space = Box(-np.inf, np.inf, (length,), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float[np.ndarray, " D"], dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._env.task.random.seed(seed)
        return _flat(self._env.reset().observation), {}

    def step(
        self, action: Float[np.ndarray, " A"]
    ) -> tuple[Float[np.ndarray, " D"], float, bool, bool, dict[str, Any]]:
        step = self._env.step(action)
        # The suite's time limit ends an episode with discount 1: the task itself goes on.
        terminated = bool(step.last() and step.discount == 0)
        truncated = bool(step.last() and not terminated)
        return _flat(step.observation), float(step.reward), terminated, truncated, {}

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        height, width = self._size
        return self._env.physics.render(height, width, camera_id=self._camera)

    def close(self) -> None:
        self._env.close()


def _import_suite(id: str) -> ModuleType:
    if sys.platform == "linux" and "DISPLAY" not in os.environ:
        # MuJoCo reads it once, on import; without a display only EGL reaches the renderer.
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        from dm_control import suite
    except ModuleNotFoundError as error:
        raise ValueError(
            f"env '{id}' needs dm_control ({error}): pip install 'worldmodels[dmc]'"
        ) from error
    except (ImportError, AttributeError, RuntimeError) as error:
        # PyOpenGL answers a missing library with an AttributeError.
        raise ValueError(f"env '{id}' cannot load a renderer ({error}): {_FIX}") from error
    return suite


def _rendering_errors() -> tuple[type[Exception], ...]:
    import mujoco

    return (mujoco.FatalError, RuntimeError)  # pyright: ignore[reportAttributeAccessIssue]


def _make_room(env: Any, size: tuple[int, int]) -> None:
    # The models reserve 480 x 640 pixels and refuse more.
    buffer = env.physics.model.vis.global_
    buffer.offheight, buffer.offwidth = (
        max(buffer.offheight, size[0]),
        max(buffer.offwidth, size[1]),
    )


def _flat(observation: Mapping[str, Any]) -> Float[np.ndarray, " D"]:
    return np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float64)
