"""Playing episodes and measuring what comes back."""

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from worldmodels.envs.base import PixelEnv
from worldmodels.evaluation.statistics import bootstrap_interval
from worldmodels.replay.collect import FrameAgent, collect_episodes
from worldmodels.replay.episode import Episode
from worldmodels.viz.bands import Interval


class Returns(NamedTuple):
    """The returns of evaluation episodes.

    Attributes:
        values: sum of rewards of each episode.
        lengths: agent steps of each episode.
        interval: mean return with its 95 % bootstrap interval; also ``mean``, ``low``, ``high``.
        decision_ms: median milliseconds per decision, per environment.
        episodes: what was played.
    """

    values: Float[np.ndarray, " N"]
    lengths: Float[np.ndarray, " N"]
    interval: Interval
    decision_ms: float
    episodes: list[Episode]

    @property
    def mean(self) -> float:
        """The mean return."""
        return self.interval.mean

    @property
    def low(self) -> float:
        """The lower end of the mean's interval."""
        return self.interval.low

    @property
    def high(self) -> float:
        """The upper end of the mean's interval."""
        return self.interval.high

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "return": self.interval._asdict(),
            "returns": self.values.tolist(),
            "lengths": self.lengths.tolist(),
            "decision_ms": round(self.decision_ms, 4),
        }

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"return {self.interval} (mean and 95 % interval of {len(self.values)} episodes)",
            f"{self.lengths.mean():.0f} steps an episode, {self.decision_ms:.2f} ms per decision",
        ]


class _Timed:
    """Acts like another agent and takes the time."""

    def __init__(self, agent: FrameAgent):
        self.agent = agent
        self.seconds: list[float] = []

    def initial(self, batch: int, seed: int) -> Any:
        """See ``Agent.initial``."""
        return self.agent.initial(batch, seed)

    def act(
        self,
        obs: UInt8[Tensor, "B C h w"],
        is_first: Bool[Tensor, " B"],
        state: Any,
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], Any]:
        """See ``Agent.act``."""
        start = time.perf_counter()
        action, state = self.agent.act(obs, is_first, state, explore)
        # The copy waits for an accelerator to finish.
        action = action.cpu()
        self.seconds.append((time.perf_counter() - start) / len(obs))
        return action, state


def evaluate_returns(agent: FrameAgent, env: PixelEnv, episodes: int, seed: int) -> Returns:
    """Plays ``episodes`` without exploration.

    Raises:
        ValueError: when ``episodes`` is below 1.
    """
    timed = _Timed(agent)
    with torch.no_grad():
        played = collect_episodes(
            env, timed, episodes, seed, explore=False, policy="evaluation", round=0
        )
    values = np.array([episode.reward.sum() for episode in played], dtype=float)
    return Returns(
        values,
        np.array([episode.length for episode in played], dtype=float),
        bootstrap_interval(values),
        float(np.median(timed.seconds)) * 1e3,
        list(played),
    )
