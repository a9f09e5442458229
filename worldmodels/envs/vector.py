"""Gymnasium's vector environments as rows of the project (`Frames`), in every autoreset mode."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool, Float32, UInt8

from worldmodels.envs.base import Frames
from worldmodels.envs.wrappers import GymnasiumRows, Interface
from worldmodels.types import ObsShape


class VectorEnvs(GymnasiumRows):
    """A Gymnasium vector environment; its rows are the same whatever its autoreset mode.

    NEXT_STEP is the project's own protocol. In the other modes an ended copy is already at its new
    start (SAME_STEP) or has to be brought there (DISABLED) when the next step moves all copies:
    that copy is moved too, and then started once more with ``reset_mask``. This costs a reset and
    a step per episode, and no row.

    Args:
        env: the vector environment; it does its own action repeat and time limit.
        name: its id.
        obs_shape: wanted ``(C, h, w)``.
        action_repeat: how often the environment itself repeats an action; its ``render_fps``
            counts agent steps.
        obs_key: the image's key in a Dict observation.

    Raises:
        ValueError: when there is no image to be had, the action space is not supported, the
            environment does not declare its autoreset mode, or it ignores ``reset_mask``.
    """

    def __init__(
        self,
        env: VectorEnv,
        name: str,
        obs_shape: ObsShape,
        action_repeat: int = 1,
        obs_key: str | None = None,
    ):
        self.env = env
        spaces = (env.single_observation_space, env.single_action_space)
        about = Interface(env.num_envs, *spaces, env.metadata, env.render_mode)
        super().__init__(about, name, obs_shape, action_repeat, obs_key)
        self.autoreset = _autoreset_mode(env, name)
        if self.source.rendered and self.autoreset is AutoresetMode.SAME_STEP:
            raise ValueError(
                f"{name} renders with AutoresetMode.SAME_STEP, which hides the last frame of every "
                "episode: make it with autoreset_mode=AutoresetMode.NEXT_STEP"
            )
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self, seed: int) -> Frames:
        """Starts a new episode everywhere; copy i is seeded with ``seed + i``."""
        self._started = True
        self._ended, self._elapsed = np.zeros_like(self._ended), np.zeros_like(self._elapsed)
        obs, _ = self.env.reset(seed=seed)
        no = np.zeros(self.num_envs, dtype=bool)
        reward = np.zeros(self.num_envs, dtype=np.float32)
        return Frames(self._images(obs), reward, ~no, no, no.copy())

    def step(self, action: Float32[np.ndarray, "N A"]) -> Frames:
        decoded, starting = self._decoded(action), self._ended
        restart = self.autoreset is not AutoresetMode.NEXT_STEP and starting.any()
        if restart and self.autoreset is AutoresetMode.DISABLED:
            # An ended copy may not be stepped, and a step moves all copies.
            self._restart(starting)
        obs, reward, terminated, truncated, info = self.env.step(decoded)
        terminated = np.asarray(terminated, dtype=bool) & ~starting
        self._ended = terminated | (np.asarray(truncated, dtype=bool) & ~starting)
        images = self._images(obs)
        if self.autoreset is AutoresetMode.SAME_STEP:
            for index in np.flatnonzero(self._ended):
                images[index] = self._final_image(info, index)
        if restart:
            images = self._started_again(images, starting)
        self._elapsed = np.where(starting, 0, self._elapsed + 1)
        return Frames(
            images, self._rewards(reward, starting), starting, terminated, self._ended.copy()
        )

    def close(self) -> None:
        self.env.close()

    def _restart(self, mask: Bool[np.ndarray, " N"]) -> Any:
        # A copy of the mask: Gymnasium takes options apart, and may keep what is in them.
        return self.env.reset(options={"reset_mask": mask.copy()})[0]

    def _started_again(
        self, images: UInt8[np.ndarray, "N C h w"], mask: Bool[np.ndarray, " N"]
    ) -> UInt8[np.ndarray, "N C h w"]:
        """The images after the copies in ``mask``, which the last step moved, start once more."""
        fresh = self._images(self._restart(mask))
        # The last frame of an episode under SAME_STEP is no longer on show: it cannot differ.
        others = ~mask & ~self._ended
        if not np.array_equal(fresh[others], images[others]):
            raise ValueError(
                f"{self.name} (AutoresetMode.{self.autoreset.name}) ignores options['reset_mask']: "
                "make it with autoreset_mode=AutoresetMode.NEXT_STEP"
            )
        images[mask] = fresh[mask]
        return images

    def _images(self, obs: Any) -> UInt8[np.ndarray, "N C h w"]:
        if self.source.rendered:
            return np.stack([self._shaper(frame) for frame in self._rendered(self.env)])
        return self._shaper.batch(np.asarray(self.source.of(obs)))

    def _final_image(self, info: dict[str, Any], index: np.intp) -> UInt8[np.ndarray, "C h w"]:
        final = info.get("final_obs")
        if final is None:
            raise ValueError(
                f"{self.name} (AutoresetMode.SAME_STEP) gives no info['final_obs'] at an episode's "
                "end: add it, or use AutoresetMode.NEXT_STEP"
            )
        # Observations of a Dict come as a dict of arrays, or as an array of dicts.
        nested = isinstance(final, dict)
        return self._shaper(
            self.source.of(final)[index] if nested else self.source.of(final[index])
        )

    def _rewards(self, reward: Any, starting: Bool[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
        rewards = np.where(starting, 0.0, np.asarray(reward, dtype=np.float64))
        for index in np.flatnonzero(~np.isfinite(rewards)):
            self._finite(rewards[index], int(self._elapsed[index]))
        return rewards.astype(np.float32)


def _autoreset_mode(env: VectorEnv, name: str) -> AutoresetMode:
    mode = env.metadata.get("autoreset_mode")
    if mode is None:
        raise ValueError(
            f"{name} does not declare how it resets: set metadata['autoreset_mode'] to the "
            "gymnasium.vector.AutoresetMode it follows"
        )
    return AutoresetMode(mode)
