"""Measures of an environment's frames, rewards and speed over some random steps."""

import time
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from worldmodels.checks import check_at_least
from worldmodels.envs.actions import random_actions
from worldmodels.envs.base import Frames, PixelEnv, row_bytes
from worldmodels.envs.make import make_env
from worldmodels.envs.wrappers import GymnasiumRows


class Range(NamedTuple):
    """Lowest, highest and mean value."""

    low: float
    high: float
    mean: float

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}, mean {self.mean:.4g}"


class EnvReport(NamedTuple):
    """The result of `check_env`; ``str`` of it is a table.

    Attributes:
        name: the environment's id.
        num_envs: copies stepped together.
        steps: random agent steps taken, of all copies together.
        facts: what the environment declares (frames, actions, time), by name.
        pixels: of all frames, 0..255.
        changing: share of steps whose frame differs from the one before.
        alive: share of pixel positions, of all copies, that ever changed.
        reward: per agent step, without the first rows of episodes.
        lengths: agent steps of the episodes that ended.
        returns: their sums of rewards, undiscounted.
        terminations: how many of these terminated (the others were truncated).
        steps_per_second: agent steps of all copies together, resets included.
        gb_per_million: memory of a million steps of replay, in GB (1e9 bytes).
        warnings: findings that will hinder learning.
    """

    name: str
    num_envs: int
    steps: int
    facts: dict[str, str]
    pixels: Range
    changing: float
    alive: float
    reward: Range
    lengths: list[int]
    returns: list[float]
    terminations: int
    steps_per_second: float
    gb_per_million: float
    warnings: list[str]

    def lines(self) -> list[str]:
        """The table, one line per fact."""
        rows = {
            "environment": f"{self.name}, {self.num_envs} copies",
            **self.facts,
            "pixels": str(self.pixels),
            "movement": f"in {self.changing:.0%} of steps, of {self.alive:.1%} of the pixels",
            "reward per step": str(self.reward),
            "episodes": self._episodes(),
            "speed": f"{self.steps_per_second:,.0f} agent steps/s ({self.steps} random steps)",
            "replay": f"{self.gb_per_million:.2f} GB for 1M steps",
        }
        width = max(map(len, rows))
        table = [f"{name:<{width}}  {text}" for name, text in rows.items()]
        return table + [f"{'warning':<{width}}  {text}" for text in self.warnings]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _episodes(self) -> str:
        if not self.lengths:
            return f"none ended within {self.steps // self.num_envs} steps"
        return (
            f"{len(self.lengths)} of {min(self.lengths)} to {max(self.lengths)} steps, mean "
            f"{np.mean(self.lengths):.4g}; {self.terminations} terminated, "
            f"{len(self.lengths) - self.terminations} truncated; returns "
            f"{min(self.returns):.4g} to {max(self.returns):.4g}, mean {np.mean(self.returns):.4g}"
        )


def check_env(id: str, steps: int = 300, seed: int = 0, **options: Any) -> EnvReport:
    """Makes an environment, takes random steps in it and reports on them.

    Args:
        id: as for ``make_env``.
        steps: steps of every copy.
        seed: of the environment and the actions.
        options: further arguments of ``make_env``.

    Raises:
        ValueError: when it cannot be made, or breaks its contract on the way.
    """
    env = make_env(id, **options)
    try:
        return check_pixel_env(env, steps, seed)
    finally:
        env.close()


def check_pixel_env(env: PixelEnv, steps: int = 300, seed: int = 0) -> EnvReport:
    """`check_env` for an environment that is made already; it is reset, and stays open.

    Raises:
        ValueError: when ``steps`` is below 1, or the environment breaks its contract on the way.
    """
    check_at_least("check_env", 1, steps=steps)
    return _report(env, _random_steps(env, steps, seed))


class _Rows(NamedTuple):
    """Statistics of one row, or of all rows stacked along time: everything but the frames."""

    reward: np.ndarray
    is_first: np.ndarray
    is_terminal: np.ndarray
    is_last: np.ndarray
    changed: np.ndarray
    pixels: np.ndarray


class _Sample(NamedTuple):
    """All ``steps + 1`` rows, which pixels ever changed, and how long the steps took."""

    rows: _Rows
    alive: Bool[np.ndarray, "N h w"]
    seconds: float


def _random_steps(env: PixelEnv, steps: int, seed: int) -> _Sample:
    rng = np.random.default_rng(seed)
    before, seconds = env.reset(seed), 0.0
    rows = [_row(before, before)]
    alive = np.zeros((env.num_envs, *env.obs_shape[1:]), dtype=bool)
    for _ in range(steps):
        action = random_actions(env.action_space, env.num_envs, rng)
        start = time.perf_counter()
        now = env.step(action)
        seconds += time.perf_counter() - start
        rows.append(_row(before, now))
        alive |= (before.obs != now.obs).any(1)
        before = now
    stacked = _Rows(*(np.stack(field) for field in zip(*rows, strict=True)))
    return _Sample(stacked, alive, seconds)


def _row(before: Frames, now: Frames) -> _Rows:
    changed = (before.obs != now.obs).any((1, 2, 3))
    pixels = np.array([now.obs.min(), now.obs.max(), now.obs.mean(dtype=np.float64)])
    return _Rows(now.reward, now.is_first, now.is_terminal, now.is_last, changed, pixels)


def _report(env: PixelEnv, sample: _Sample) -> EnvReport:
    rows = sample.rows
    moved = ~rows.is_first
    low, high, mean = rows.pixels.T
    reward = rows.reward[moved].astype(np.float64)
    episodes = _episodes_of(rows)
    report = EnvReport(
        name=env.name,
        num_envs=env.num_envs,
        steps=int(moved.sum()),
        facts=_facts(env),
        pixels=Range(float(low.min()), float(high.max()), float(mean.mean())),
        changing=float(rows.changed[moved].mean()),
        alive=float(sample.alive.mean()),
        reward=Range(float(reward.min()), float(reward.max()), float(reward.mean())),
        lengths=[episode.length for episode in episodes],
        returns=[episode.total for episode in episodes],
        terminations=int(rows.is_terminal.sum()),
        steps_per_second=float(moved.sum()) / sample.seconds,
        gb_per_million=row_bytes(env.obs_shape, env.action_space) * 1e6 / 1e9,
        warnings=[],
    )
    return report._replace(warnings=_warnings(report))


def _facts(env: PixelEnv) -> dict[str, str]:
    space = env.action_space
    actions = f"{space.dim} choices" if space.discrete else f"{space.dim} numbers in [-1, 1]"
    channels, height, width = env.obs_shape
    facts = {"frames": f"{channels} x {height} x {width} bytes", "actions": actions}
    if isinstance(env, GymnasiumRows):
        facts["frames"] += f", from {env.source} of {_brief(env.observation_space)}"
        facts["actions"] += f", from {_brief(env.native_actions)}"
        facts["autoreset"] = f"{env.autoreset.name} ({type(env).__name__})"
    else:
        facts["autoreset"] = f"done by {type(env).__name__}"
    facts["time"] = f"{env.frame_rate:.4g} agent steps/s, {env.action_repeat} frames each"
    return facts


def _brief(space: Any) -> str:
    # The bounds of an image's Box fill pages.
    return f"{type(space).__name__}{space.shape}" if len(str(space)) > 60 else str(space)


class _Episode(NamedTuple):
    length: int
    total: float


def _episodes_of(rows: _Rows) -> list[_Episode]:
    """The episodes that ended, copy by copy."""
    episodes = []
    copies = zip(rows.is_first.T, rows.is_last.T, rows.reward.T, strict=True)
    for is_first, is_last, reward in copies:
        starts, ends = np.flatnonzero(is_first), np.flatnonzero(is_last)
        for start, end in zip(starts, ends, strict=False):
            total = float(reward[start : end + 1].sum(dtype=np.float64))
            episodes.append(_Episode(int(end - start), total))
    return episodes


def _warnings(report: EnvReport) -> list[str]:
    warnings = []
    if report.changing == 0:
        warnings.append("no frame ever changes: is this the right image, or is it too small?")
    if report.pixels.high == 0:
        warnings.append("every pixel is black: does the renderer work?")
    elif report.pixels.low == report.pixels.high:
        warnings.append("every pixel has the same value: there is nothing to see")
    if report.reward.low == report.reward.high:
        warnings.append(f"the reward is always {report.reward.low:g}: random actions earn nothing")
    if not report.lengths:
        each = report.steps // report.num_envs
        warnings.append(f"no episode ended within {each} steps: set time_limit if it never does")
    return warnings
