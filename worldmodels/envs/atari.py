"""Atari through ALE's own C++ vector environment, as rows of pixels.

`gymnasium.wrappers.AtariPreprocessing` does the same one game at a time, and needs OpenCV.
"""

import inspect
import os
from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from einops import rearrange
from gymnasium.vector import AutoresetMode
from jaxtyping import Float32

from worldmodels.envs.actions import action_codec
from worldmodels.envs.base import Frames, PixelEnv
from worldmodels.envs.request import check_options, unknown

_FRAMES_PER_SECOND = 60.0

# Options that an argument of `make_env` sets already.
_TAKEN = {
    "game": "id",
    "num_envs": "num_envs",
    "img_height": "size",
    "img_width": "size",
    "grayscale": "channels",
    "frameskip": "action_repeat",
    "max_num_frames_per_episode": "time_limit",
}

# Options that would break the rows of `Frames`: one frame each, all copies in every step, choices
# as actions, and an end only where the game ends.
_FIXED = {
    "batch_size",
    "stack_num",
    "autoreset_mode",
    "continuous",
    "continuous_action_threshold",
    "episodic_life",
    "life_loss_info",
}


class AtariPixelEnv(PixelEnv):
    """N copies of one Atari game, stepped in parallel by C++ threads.

    The id sets all that is not an argument: ``-v5`` repeats the last action with probability
    0.25 (sticky actions) and offers the actions of that game. An episode's first row comes after
    up to ``noop_max`` (30) idle frames and, where the game has it, a press of FIRE. With
    ``action_repeat`` above 1 a frame is the maximum of the last two, since many games draw their
    sprites in every other one only. Rewards are the game's score, unclipped.

    Where the game ends within a step ALE keeps no last picture: that row shows the frame before.

    Args:
        id: such as ``ALE/Pong-v5``.
        num_envs: copies stepped together.
        size: height and width of the frames; the screen's 210 x 160 are averaged to it.
        channels: 3 (RGB) or 1 (grey).
        action_repeat: frames per agent step, of 60 per second.
        time_limit: agent steps until truncation; None keeps the id's own limit (108000 frames).
        options: other arguments of `ale_py.vector_env.AtariVectorEnv`, for example
            ``repeat_action_probability``.

    Raises:
        ValueError: when the game or an option does not exist, or the option may not be set.

    Reference: Machado et al. 2018, "Revisiting the Arcade Learning Environment", section 5.
    """

    def __init__(
        self,
        id: str,
        num_envs: int,
        size: tuple[int, int],
        channels: int,
        action_repeat: int,
        time_limit: int | None,
        options: dict[str, Any],
    ):
        self.name, self.num_envs, self.action_repeat = id, num_envs, action_repeat
        self.obs_shape = (channels, *size)
        self.frame_rate = _FRAMES_PER_SECOND / action_repeat
        game = dict(_game(id))
        longest = game.pop("max_num_frames_per_episode") // action_repeat
        self.time_limit = longest if time_limit is None else min(time_limit, longest)
        self._env = _vector_env(
            game | _checked(options, id),
            num_envs=num_envs,
            img_height=size[0],
            img_width=size[1],
            grayscale=channels == 1,
            frameskip=action_repeat,
            maxpool=options.get("maxpool", action_repeat > 1),
            # ALE truncates before it looks at the screen, so that the last row would show an old
            # frame: the limit is kept here instead, and ALE's lies out of reach.
            max_num_frames_per_episode=(self.time_limit + 2) * action_repeat,
        )
        self._codec = action_codec(self._env.single_action_space, id)
        self.action_space = self._codec.space
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._terminal = np.zeros(num_envs, dtype=bool)
        self._late = np.zeros(num_envs, dtype=bool)

    def reset(self, seed: int) -> Frames:
        """Starts a new episode everywhere; copy i is seeded with ``seed + i``."""
        # ALE takes 31 bits and reads -1 as "no seed".
        seeds = (seed + np.arange(self.num_envs)) % 2**31
        screens, _ = self._env.reset(seed=seeds)
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)
        self._terminal = np.zeros(self.num_envs, dtype=bool)
        self._late = np.zeros(self.num_envs, dtype=bool)
        return self._frames(screens, np.zeros(self.num_envs), np.ones(self.num_envs, dtype=bool))

    def step(self, action: Float32[np.ndarray, "N A"]) -> Frames:
        is_first = self._terminal | self._late
        decoded = self._codec.decode(action, self.num_envs)
        screens, score, terminated, _, _ = self._env.step(decoded)
        if self._late.any():
            # ALE restarted what terminated, but it knows nothing of our limit: those copies took
            # one more step, which is not shown, and start anew now.
            screens, _ = self._env.reset(options={"reset_mask": self._late})
        self._elapsed = np.where(is_first, 0, self._elapsed + 1)
        self._terminal = np.asarray(terminated, dtype=bool) & ~is_first
        self._late = (self._elapsed >= self.time_limit) & ~self._terminal
        return self._frames(screens, np.where(is_first, 0, score), is_first)

    def close(self) -> None:
        self._env.close()

    def _frames(self, screens: np.ndarray, reward: np.ndarray, is_first: np.ndarray) -> Frames:
        # N 1 h w (grey), or N 1 h w 3: the 1 is ALE's stack.
        planes = screens if screens.ndim == 4 else rearrange(screens, "N 1 h w C -> N C h w")
        return Frames(
            np.array(planes, order="C", copy=True),
            reward.astype(np.float32),
            is_first,
            self._terminal.copy(),
            self._terminal | self._late,
        )


def _vector_env(settings: dict[str, Any], num_envs: int, **ours: Any) -> AtariVectorEnv:
    defaults = {"reward_clipping": False, "num_threads": min(num_envs, os.cpu_count() or 1)}
    return AtariVectorEnv(
        **(defaults | settings | ours),
        num_envs=num_envs,
        stack_num=1,
        autoreset_mode=AutoresetMode.NEXT_STEP,
    )


def _game(id: str) -> dict[str, Any]:
    """The registered settings of an id: game, sticky actions, action set, longest episode."""
    gymnasium.register_envs(ale_py)
    ids = [name for name in gymnasium.registry if name.startswith("ALE/")]
    if id not in ids:
        raise unknown(id, ids)
    return gymnasium.registry[id].kwargs


def _checked(options: dict[str, Any], id: str) -> dict[str, Any]:
    known = set(inspect.signature(AtariVectorEnv).parameters)
    free = sorted(known - _FIXED - set(_TAKEN))
    for name in options:
        if name in _TAKEN:
            raise ValueError(
                f"env '{id}': option '{name}' is what {_TAKEN[name]} says; leave it out"
            )
    check_options(id, options, free)
    return options
