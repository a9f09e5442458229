"""Environments small enough to write down every row of theirs by hand."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env


class Clock(gymnasium.Env):
    """Frame k of an episode is filled with 10 k + the action taken; the reward on it is k."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        length: int = 3,
        terminates: bool = True,
        shape: tuple[int, ...] = (16, 16, 3),
        actions: spaces.Space | None = None,
        render_mode: str | None = None,
    ):
        self.length, self.terminates, self.render_mode = length, terminates, render_mode
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space = spaces.Discrete(3) if actions is None else actions
        self.frame = np.zeros(shape, np.uint8)
        self.time, self.taken = 0, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.show(0), {}

    def step(self, action):
        self.time += 1
        self.taken.append(action)
        shown = int(action) if np.ndim(action) == 0 else 0
        over = self.time >= self.length
        flags = (over and self.terminates, over and not self.terminates)
        return self.show(10 * self.time + shown), float(self.time), *flags, {}

    def show(self, value: int) -> Any:
        self.frame.fill(value)
        return self.frame.copy()


class Careless(Clock):
    """Writes every frame into the same array."""

    def show(self, value: int) -> Any:
        super().show(value)
        return self.frame


class Still(Clock):
    """Shows the same grey for ever."""

    def show(self, value: int) -> Any:
        return super().show(7)


class DictClock(Clock):
    """Shows its frame under a key, beside a vector."""

    def __init__(self, length: int = 3, terminates: bool = True):
        super().__init__(length, terminates)
        picture, vector = self.observation_space, spaces.Box(-1, 1, (4,))
        self.observation_space = spaces.Dict({"speed": vector, "camera": picture})

    def show(self, value: int) -> Any:
        return {"speed": np.zeros(4, np.float32), "camera": super().show(value)}


class TwoCameras(Clock):
    """Shows two images."""

    def __init__(self):
        super().__init__()
        picture = self.observation_space
        self.observation_space = spaces.Dict({"left": picture, "right": picture})

    def show(self, value: int) -> Any:
        return {"left": super().show(value), "right": super().show(200 + value)}


class Rendered(Clock):
    """Observes a number; its picture comes from ``render`` alone, which counts its calls."""

    def __init__(self, length: int = 3, render_mode: str | None = None):
        super().__init__(length, render_mode=render_mode)
        self.observation_space = spaces.Box(-9, 9, (1,))
        self.renders = 0

    def show(self, value: int) -> Any:
        super().show(value)
        return np.zeros(1, np.float32)

    def render(self):
        self.renders += 1
        return self.frame


class Lucky(Clock):
    """StartStates with a picture of noise."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.frame[:] = self.np_random.integers(0, 256, self.frame.shape)
        return self.frame.copy(), {}


class Broken(Clock):
    """Does something wrong on its second step."""

    def __init__(self, reward: float | None = 2.0, frame: np.ndarray | None = None):
        super().__init__(length=9)
        self.wrong, self.picture = reward, frame

    def step(self, action):
        obs, reward, *rest = super().step(action)
        if self.time < 2:
            return obs, reward, *rest
        return obs if self.picture is None else self.picture, self.wrong, *rest


class Blind(Clock):
    """Has no image at all."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(-9, 9, (1,))


def clocks(num_envs: int, mode: str = "NEXT_STEP", terminates: bool = True) -> SyncVectorEnv:
    """Copies of different lengths (1, 2, 3, ...) as a vector environment."""
    makers = [lambda i=i: Clock(i + 1, terminates) for i in range(num_envs)]
    return SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode[mode])


def dict_clocks(num_envs: int, mode: str = "NEXT_STEP") -> SyncVectorEnv:
    makers = [lambda i=i: DictClock(i + 1) for i in range(num_envs)]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode[mode])


class Deaf(SyncVectorEnv):
    """Resets every copy whatever the mask says."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


def deaf_clocks(num_envs: int) -> VectorEnv:
    makers = [lambda i=i: Clock(2 * i + 1) for i in range(num_envs)]
    return Deaf(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def mute_clocks(num_envs: int) -> VectorEnv:
    """Does not tell its autoreset mode."""
    env = clocks(num_envs)
    env.metadata = {}
    return env


def rendered_clocks(num_envs: int, mode: str) -> VectorEnv:
    makers = [lambda i=i: Rendered(i + 1, "rgb_array") for i in range(num_envs)]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode[mode])


def eight_clocks() -> VectorEnv:
    return clocks(8)


def counting_pixels() -> PixelEnv:
    return make_env("worldmodels/Counting-v0", 2, time_limit=4)


def a_number() -> int:
    return 3
