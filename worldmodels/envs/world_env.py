"""The two Gymnasium environments of a world: one copy, and a batch of copies."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from worldmodels.envs.world import Episodes, World, build_world
from worldmodels.envs.worlds.drawing import SIDE
from worldmodels.types import ActionSpace


class WorldEnv(gymnasium.Env[np.ndarray, Any]):
    """One copy of a world as a Gymnasium environment that shows its frame (uint8, HWC).

    Args:
        world: a world, or the path ``package.module:Class`` of one.
        render_mode: ``rgb_array`` or None; ``render`` returns the frame either way.
        action_repeat: world steps per agent step: rewards are summed, one frame is drawn.
        time_limit: agent steps until truncation; None keeps the world's own limit.
        arguments: of the world, where its path is given: ``{"sigma": 0.2}``.

    Raises:
        TypeError: if the world has no such argument.
        ValueError: if a number is below 1, or an action has the wrong shape or values.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        world: World | str,
        render_mode: str | None = None,
        action_repeat: int = 1,
        time_limit: int | None = None,
        arguments: dict[str, Any] | None = None,
    ):
        self.world = build_world(world, arguments)
        self._episodes = Episodes(self.world, 1, action_repeat, time_limit)
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, **_timing(self._episodes)}
        self.observation_space = _frame_space()
        self.action_space = _action_space(self.world.action_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._episodes.start([self.np_random], np.ones(1, dtype=bool))
        return self.render(), self._info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        outcome = self._episodes.advance(np.asarray(action)[None], np.ones(1, dtype=bool))
        reward, terminated, truncated = (field.item() for field in outcome)
        return self.render(), reward, terminated, truncated, self._info()

    def render(self) -> np.ndarray:
        return self.world.render(self._episodes.state)[0]

    def _info(self) -> dict[str, Any]:
        return {name: value.item() for name, value in self.world.info(self._episodes.state).items()}


class WorldVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """N copies of a world as one Gymnasium vector environment, stepped and drawn as a batch.

    Copy i seeded with s behaves as a ``WorldEnv`` seeded with s + i. The autoreset mode is
    NEXT_STEP: after a row with an episode's end, the next step ignores that copy's action and
    returns the first frame of its new episode with reward 0. Every step draws exactly one frame
    per copy, whatever the action repeat.

    Args:
        world, render_mode, action_repeat, time_limit, arguments: as for ``WorldEnv``.
        num_envs: N.

    Raises:
        ValueError: if a number is below 1, or an action has the wrong shape or values.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        world: World | str,
        num_envs: int = 1,
        render_mode: str | None = None,
        action_repeat: int = 1,
        time_limit: int | None = None,
        arguments: dict[str, Any] | None = None,
    ):
        self.world = build_world(world, arguments)
        self._episodes = Episodes(self.world, num_envs, action_repeat, time_limit)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, **_timing(self._episodes)}
        self.single_observation_space = _frame_space()
        self.single_action_space = _action_space(self.world.action_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator] = []
        self._ended = np.zeros(num_envs, dtype=bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode everywhere.

        ``seed`` is one number (copy i takes seed + i), one per copy, or None to go on with the
        generators as they are.
        """
        self._seed(seed)
        self._episodes.start(self._rngs, np.ones(self.num_envs, dtype=bool))
        self._ended[:] = False
        return self.world.render(self._episodes.state), self._info()

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        starting = self._ended
        if starting.any():
            self._episodes.start(self._rngs, starting)
        outcome = self._episodes.advance(actions, ~starting)
        self._ended = outcome.terminated | outcome.truncated
        reward, terminated, truncated = outcome
        return self.world.render(self._episodes.state), reward, terminated, truncated, self._info()

    def render(self) -> tuple[np.ndarray, ...]:
        return tuple(self.world.render(self._episodes.state))

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        if isinstance(seed, int | np.integer):
            seed = range(int(seed), int(seed) + self.num_envs)
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} envs; give one seed per env")
        rngs = self._rngs or [None] * self.num_envs
        self._rngs = [
            seeding.np_random(value)[0] if rng is None or value is not None else rng
            for rng, value in zip(rngs, seeds, strict=True)
        ]

    def _info(self) -> dict[str, Any]:
        info = self.world.info(self._episodes.state)
        # Gymnasium marks by "_name" which copies reported a value.
        return info | {f"_{name}": np.ones(self.num_envs, dtype=bool) for name in info}


def _timing(episodes: Episodes) -> dict[str, float]:
    return {"render_fps": episodes.world.frame_rate / episodes.action_repeat}


def _frame_space() -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)


def _action_space(space: ActionSpace) -> gymnasium.spaces.Space:
    if space.discrete:
        return gymnasium.spaces.Discrete(space.dim)
    return gymnasium.spaces.Box(-1.0, 1.0, (space.dim,), np.float32)
