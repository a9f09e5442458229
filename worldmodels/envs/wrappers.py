"""Gymnasium environments as rows of the project (`Frames`), whatever they observe."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.error import Error as GymnasiumError
from gymnasium.spaces import Space
from gymnasium.vector import AutoresetMode
from jaxtyping import Float32

from worldmodels.envs.actions import action_codec
from worldmodels.envs.base import Frames, PixelEnv
from worldmodels.envs.images import ImageShaper, find_image
from worldmodels.types import ObsShape


class Interface(NamedTuple):
    """The attributes that single and vector environments of Gymnasium have in common."""

    num_envs: int
    observation_space: Space
    action_space: Space
    metadata: dict[str, Any]
    render_mode: str | None


class GymnasiumRows(PixelEnv):
    """The base of single and vector environments: the image, the actions and the checks.

    Attributes:
        source: where the image comes from.
        observation_space: of one copy, as Gymnasium has it.
        native_actions: the action space of one copy, as Gymnasium has it.
        autoreset: how the environment itself starts copies again that ended.
    """

    autoreset = AutoresetMode.NEXT_STEP

    def __init__(
        self, about: Interface, name: str, obs_shape: ObsShape, action_repeat: int, key: str | None
    ):
        self.name, self.num_envs = name, about.num_envs
        self.obs_shape, self.action_repeat = obs_shape, action_repeat
        self.observation_space, self.native_actions = about.observation_space, about.action_space
        self._codec = action_codec(about.action_space, name)
        self.action_space = self._codec.space
        self.source = find_image(about.observation_space, key, name)
        if self.source.rendered and about.render_mode != "rgb_array":
            raise ValueError(
                f"{name} shows no image: it observes {about.observation_space} and its render_mode "
                f"is {about.render_mode}; give it an image observation, or render_mode='rgb_array'"
            )
        self._shaper = ImageShaper(obs_shape, name)
        self.frame_rate = float(about.metadata.get("render_fps") or 30)
        self._ended = np.zeros(self.num_envs, dtype=bool)
        self._started = False

    def _decoded(self, action: np.ndarray) -> np.ndarray:
        if not self._started:
            raise RuntimeError(f"{self.name}: step() came before reset(seed); call reset first")
        return self._codec.decode(action, self.num_envs)

    def _rendered(self, env: Any) -> Any:
        try:
            frame = env.render()
        except GymnasiumError as error:
            # Mostly a missing renderer; Gymnasium's message names the package to install, which
            # an extra of ours brings too.
            message = str(error).replace("gymnasium[classic-control]", "worldmodels[classic]")
            raise ValueError(f"{self.name} cannot render: {message}") from error
        if frame is None:
            raise ValueError(f"{self.name}: render() gave None; let it return RGB arrays")
        return frame

    def _finite(self, reward: Any, step: int) -> float:
        value = float("nan") if reward is None else float(reward)
        if not math.isfinite(value):
            raise ValueError(
                f"{self.name} gave the reward {reward} at step {step} of an episode: fix the "
                "environment, a reward is a finite number"
            )
        return value


class _Row(NamedTuple):
    """One environment's part of `Frames`."""

    obs: np.ndarray
    reward: float
    is_first: bool
    is_terminal: bool
    is_last: bool


class SingleEnvs(GymnasiumRows):
    """N Gymnasium environments stepped one after the other, in this process.

    Args:
        envs: the environments, all alike.
        name: their id.
        obs_shape: wanted ``(C, h, w)``.
        action_repeat: environment steps per agent step: rewards are summed, an episode's end stops
            the repeats, and only the last frame is rendered.
        time_limit: agent steps until truncation; None leaves it to the environments.
        obs_key: the image's key in a Dict observation.

    Raises:
        ValueError: when there is no image to be had, or the action space is not supported.
    """

    def __init__(
        self,
        envs: Sequence[gymnasium.Env],
        name: str,
        obs_shape: ObsShape,
        action_repeat: int = 1,
        time_limit: int | None = None,
        obs_key: str | None = None,
    ):
        self.envs, self.time_limit = list(envs), time_limit
        env = self.envs[0]
        spaces = (env.observation_space, env.action_space)
        about = Interface(len(self.envs), *spaces, env.metadata, env.render_mode)
        super().__init__(about, name, obs_shape, action_repeat, obs_key)
        self.frame_rate /= action_repeat
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self, seed: int) -> Frames:
        """Starts a new episode everywhere; copy i is seeded with ``seed + i``."""
        self._started = True
        return _frames([self._first(i, seed + i) for i in range(self.num_envs)])

    def step(self, action: Float32[np.ndarray, "N A"]) -> Frames:
        decoded = self._decoded(action)
        return _frames(
            [
                self._first(i) if self._ended[i] else self._advance(i, decoded[i])
                for i in range(self.num_envs)
            ]
        )

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def _first(self, index: int, seed: int | None = None) -> _Row:
        obs, _ = self.envs[index].reset(seed=seed)
        self._ended[index], self._elapsed[index] = False, 0
        return _Row(self._image(index, obs), 0.0, True, False, False)

    def _advance(self, index: int, action: Any) -> _Row:
        total, terminated, truncated, obs = 0.0, False, False, None
        self._elapsed[index] += 1
        for _ in range(self.action_repeat):
            obs, reward, terminated, truncated, _ = self.envs[index].step(action)
            total += self._finite(reward, int(self._elapsed[index]))
            if terminated or truncated:
                break
        over = bool(terminated or truncated or self._elapsed[index] == self.time_limit)
        self._ended[index] = over
        return _Row(self._image(index, obs), total, False, bool(terminated), over)

    def _image(self, index: int, obs: Any) -> np.ndarray:
        if self.source.rendered:
            return self._shaper(self._rendered(self.envs[index]))
        return self._shaper(self.source.of(obs))


def _frames(rows: Sequence[_Row]) -> Frames:
    return Frames(
        np.stack([row.obs for row in rows]),
        np.array([row.reward for row in rows], dtype=np.float32),
        *(
            np.array([getattr(row, flag) for row in rows], dtype=bool)
            for flag in ("is_first", "is_terminal", "is_last")
        ),
    )
