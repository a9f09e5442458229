"""Gymnasium environments as rows of the project (`Frames`): single ones, and vector ones."""

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Float32

from worldmodels.envs.actions import action_codec
from worldmodels.envs.base import Frames, PixelEnv
from worldmodels.envs.images import ImageShaper, ImageSource, find_image
from worldmodels.types import ObsShape


class SingleEnvs(PixelEnv):
    """N Gymnasium environments stepped one after the other, in this process.

    Args:
        envs: the environments, all alike.
        name: their id.
        obs_shape: wanted ``(C, h, w)``.
        action_repeat: environment steps per agent step; rewards are summed, the last frame shown.
        time_limit: agent steps until truncation; None leaves it to the environments.
        obs_key: the image's key in a Dict observation.
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
        self.envs, self.name, self.num_envs = list(envs), name, len(envs)
        self.obs_shape, self.action_repeat = obs_shape, action_repeat
        self.time_limit = time_limit
        first = self.envs[0]
        self._codec = action_codec(first.action_space, name)
        self.action_space = self._codec.space
        self._source = find_image(first.observation_space, obs_key, name)
        _check_source(self._source, first.render_mode, name)
        self._shaper = ImageShaper(obs_shape, name)
        self.frame_rate = _frame_rate(first.metadata, action_repeat)
        self._ended = np.zeros(self.num_envs, dtype=bool)
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self, seed: int) -> Frames:
        """Starts a new episode everywhere; copy i is seeded with ``seed + i``."""
        return _stacked([self._first(i, env.reset(seed=seed + i)[0]) for i, env in self._copies()])

    def step(self, action: Float32[np.ndarray, "N A"]) -> Frames:
        """One agent step everywhere; ended copies start anew instead."""
        decoded = self._codec.decode(action)
        rows = []
        for i, env in self._copies():
            if self._ended[i]:
                rows.append(self._first(i, env.reset()[0]))
            else:
                rows.append(self._advance(i, env, decoded[i]))
        return _stacked(rows)

    def close(self) -> None:
        """Closes every environment."""
        for env in self.envs:
            env.close()

    def _copies(self) -> Iterator[tuple[int, gymnasium.Env]]:
        return iter(enumerate(self.envs))

    def _first(self, index: int, obs: Any) -> tuple[Any, ...]:
        self._ended[index], self._elapsed[index] = False, 0
        return self._image(index, obs), 0.0, True, False, False

    def _advance(self, index: int, env: gymnasium.Env, action: Any) -> tuple[Any, ...]:
        total, terminated, truncated, obs = 0.0, False, False, None
        for _ in range(self.action_repeat):
            obs, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        self._elapsed[index] += 1
        _check_reward(total, self.name, int(self._elapsed[index]))
        truncated = bool(truncated) or self._elapsed[index] == self.time_limit
        self._ended[index] = terminated or truncated
        return self._image(index, obs), total, False, terminated, self._ended[index]

    def _image(self, index: int, obs: Any) -> np.ndarray:
        if self._source.rendered:
            frame = self.envs[index].render()
            if frame is None:
                raise ValueError(f"{self.name}.render() gave None: let it return an RGB array")
            return self._shaper(frame)
        return self._shaper(obs if self._source.key is None else obs[self._source.key])


class VectorEnvs(PixelEnv):
    """A Gymnasium vector environment, whatever its autoreset mode.

    With NEXT_STEP its rows are the project's. With SAME_STEP and DISABLED an ended copy is reset
    between two rows, and the next step moves it already: its new episode is then shown from its
    second frame on (every row is true, the first transition of each later episode is not
    recorded). Use NEXT_STEP where you can choose.

    Args:
        env: the vector environment; it does its own action repeat.
        name: its id.
        obs_shape: wanted ``(C, h, w)``.
        action_repeat: what the environment repeats (told, not done).
        obs_key: the image's key in a Dict observation.
    """

    def __init__(
        self,
        env: VectorEnv,
        name: str,
        obs_shape: ObsShape,
        action_repeat: int = 1,
        obs_key: str | None = None,
    ):
        self.env, self.name, self.num_envs = env, name, env.num_envs
        self.obs_shape, self.action_repeat = obs_shape, action_repeat
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._codec = action_codec(env.single_action_space, name)
        self.action_space = self._codec.space
        self._source = find_image(env.single_observation_space, obs_key, name)
        _check_source(self._source, env.render_mode, name)
        self._shaper = ImageShaper(obs_shape, name)
        # The environment's own rate already counts its repeats.
        self.frame_rate = _frame_rate(env.metadata, 1)
        self._ended = np.zeros(self.num_envs, dtype=bool)
        self._steps = 0

    def reset(self, seed: int) -> Frames:
        """Starts a new episode everywhere; copy i is seeded with ``seed + i``."""
        obs, _ = self.env.reset(seed=seed)
        self._ended, self._steps = np.zeros(self.num_envs, dtype=bool), 0
        no = np.zeros(self.num_envs, dtype=bool)
        return Frames(self._images(obs), np.zeros(self.num_envs, np.float32), ~no, no, no.copy())

    def step(self, action: Float32[np.ndarray, "N A"]) -> Frames:
        """One agent step everywhere; ended copies start anew instead."""
        starting = self._ended
        if self.mode == AutoresetMode.DISABLED and starting.any():
            self.env.reset(options={"reset_mask": starting})
        obs, reward, terminated, truncated, info = self.env.step(self._codec.decode(action))
        self._steps += 1
        images = self._images(obs)
        terminated = np.asarray(terminated, bool) & ~starting
        self._ended = terminated | (np.asarray(truncated, bool) & ~starting)
        if self.mode == AutoresetMode.SAME_STEP:
            for index in np.flatnonzero(self._ended):
                images[index] = self._image(info["final_obs"][index])
        reward = np.where(starting, 0.0, reward).astype(np.float32)
        for value in reward:
            _check_reward(float(value), self.name, self._steps)
        return Frames(images, reward, starting, terminated, self._ended.copy())

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def _images(self, obs: Any) -> np.ndarray:
        if self._source.rendered:
            frames = self.env.render()
            if frames is None:
                raise ValueError(f"{self.name}.render() gave None: let it return RGB arrays")
            return np.stack([self._shaper(frame) for frame in frames])
        raw = obs if self._source.key is None else obs[self._source.key]
        return self._shaper.batch(np.asarray(raw))

    def _image(self, obs: Any) -> np.ndarray:
        return self._shaper(obs if self._source.key is None else obs[self._source.key])


def _stacked(rows: Sequence[tuple[Any, ...]]) -> Frames:
    obs, reward, *flags = zip(*rows, strict=True)
    is_first, is_terminal, is_last = (np.array(flag, dtype=bool) for flag in flags)
    return Frames(np.stack(obs), np.array(reward, np.float32), is_first, is_terminal, is_last)


def _check_reward(reward: float, name: str, step: int) -> None:
    if not np.isfinite(reward):
        raise ValueError(f"{name} gave the reward {reward} at step {step}: fix the environment")


def _check_source(source: ImageSource, render_mode: str | None, name: str) -> None:
    if source.rendered and render_mode != "rgb_array":
        raise ValueError(
            f"{name} shows no image: it observes none and its render_mode is {render_mode}; give "
            "it an image observation, or support render_mode='rgb_array'"
        )


def _frame_rate(metadata: dict[str, Any], action_repeat: int) -> float:
    return float(metadata.get("render_fps") or 30) / action_repeat
