"""Which agent acts best in the same world model, and does a plan get the return it predicts?"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from worldmodels.agent import AgentState
from worldmodels.checks import check_at_least
from worldmodels.envs.base import PixelEnv
from worldmodels.evaluation.agents import NamedAgent, PlannerChoice, agents_of
from worldmodels.evaluation.statistics import bootstrap_interval
from worldmodels.evaluation.subject import Run, evaluating, find_subject, world_of
from worldmodels.planning.mpc import PlanState
from worldmodels.replay.collect import collect_episodes
from worldmodels.replay.files import write_text
from worldmodels.viz.bands import Interval
from worldmodels.viz.comparison import Measure, comparison_chart
from worldmodels.viz.plots import save_figure
from worldmodels.viz.text import table_text


class Row(NamedTuple):
    """The measurements of one agent.

    Attributes:
        name: of the agent.
        episode_returns: sum of rewards of each episode.
        episode_predicted: mean over an episode's decisions of the discounted return that was
            predicted for the next H steps.
        episode_actual: mean over the same decisions of the discounted return of the same H steps;
            NaN, as ``episode_predicted``, where a time limit left no whole window.
        decision_ms: median milliseconds per decision.
        evaluations: model evaluations per decision (see ``Plan``).
    """

    name: str
    episode_returns: Float[np.ndarray, " N"]
    episode_predicted: Float[np.ndarray, " N"]
    episode_actual: Float[np.ndarray, " N"]
    decision_ms: float
    evaluations: float

    @property
    def returns(self) -> Interval:
        """The return of an episode."""
        return bootstrap_interval(self.episode_returns)

    @property
    def predicted(self) -> Interval:
        """The predicted return."""
        return _interval(self.episode_predicted)

    @property
    def actual(self) -> Interval:
        """The actual return of the same steps."""
        return _interval(self.episode_actual)

    @property
    def exploitation_gap(self) -> Interval:
        """Predicted minus actual return: what planning seems to win by the model's errors."""
        return _interval(self.episode_predicted - self.episode_actual)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "return": _plain(self.returns),
            "predicted": _plain(self.predicted),
            "actual": _plain(self.actual),
            "exploitation_gap": _plain(self.exploitation_gap),
            "returns": self.episode_returns.tolist(),
            "decision_ms": round(self.decision_ms, 4),
            "evaluations": self.evaluations,
        }


class Comparison(NamedTuple):
    """Agents that played the same episodes in the same world model. ``str`` gives a table.

    Attributes:
        run: whose world model it is.
        rows: the measurements by the agent's name.
        episodes: played by each.
        seed: of the first episode.
    """

    run: str
    rows: dict[str, Row]
    episodes: int
    seed: int

    def __str__(self) -> str:
        return table_text(comparison_table(list(self.rows.values())))

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "run": self.run,
            "episodes": self.episodes,
            "seed": self.seed,
            "agents": {name: row.as_dict() for name, row in self.rows.items()},
        }

    def figure(self) -> Figure:
        """A plot for each measure, with a row for each agent."""
        return comparison_chart(_measures(list(self.rows.values())), self.run)

    def save(self, folder: Path | str) -> list[Path]:
        """Writes ``compare.json`` and ``compare.png`` into a folder; returns their paths."""
        folder = Path(folder)
        files = [folder / "compare.json", folder / "compare.png"]
        write_text(files[0], json.dumps(self.as_dict(), indent=1))
        save_figure(self.figure(), files[1])
        return files


def compare(
    run: Run,
    planners: Sequence[PlannerChoice] = (),
    *,
    episodes: int = 10,
    seed: int = 1000,
    env: PixelEnv | None = None,
    on_row: Callable[[Row], object] = lambda row: None,
) -> Comparison:
    """Lets planners and the policy of a run act in its world model, from the same start states.

    The run's own planner is among them, with its own options; where the run has a behaviour, so
    are its policy and the planner guided by it.

    Args:
        run: a run folder, what ``train`` returned, or an agent together with ``env``.
        planners: names, class paths, YAML files or planners; all when none is given. ``policy`` in
            the place of planners leaves the policy and the guided planner alone.
        episodes: played by each.
        seed: of the first episode; episode k starts from the environment's seed + k.
        env: one copy of an environment in place of the run's own.
        on_row: receives each agent's measurements as they come.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when a planner is unknown, the run is model-free, or a number is below 1.

    Example::

        comparison = wm.compare("runs/cart", planners=("CEM", "MPPI"), episodes=5)
        print(comparison)
        comparison.rows["CEM"].exploitation_gap.mean
    """
    check_at_least("compare", 1, episodes=episodes)
    subject = find_subject(run)
    agents = agents_of(subject, planners)
    # Whole episodes from given seeds: one copy at a time.
    with world_of(subject, env, num_envs=1) as world, evaluating(subject.agent):
        rows = compare_agents(agents, world, episodes, seed, on_row)
    return Comparison(subject.name, {row.name: row for row in rows}, episodes, seed)


def compare_agents(
    agents: Iterable[NamedAgent],
    env: PixelEnv,
    episodes: int,
    seed: int,
    on_row: Callable[[Row], object] = lambda row: None,
) -> list[Row]:
    """All agents play the same episodes: episode k starts from the environment's seed + k.

    Args:
        agents: that play.
        env: one copy of the environment.
        episodes: how many each.
        seed: of the first episode.
        on_row: receives each agent's measurements as they come.

    Raises:
        ValueError: when there is more than one copy of the environment, or no episode.
    """
    if env.num_envs != 1:
        raise ValueError(f"num_envs={env.num_envs}: compare plays one environment at a time")
    check_at_least("compare", 1, episodes=episodes)
    rows = []
    for agent in agents:
        rows.append(_measured(agent, env, range(seed, seed + episodes)))
        on_row(rows[-1])
    return rows


class _Decision(NamedTuple):
    step: int
    predicted: float
    seconds: float


class _Recorder:
    """Acts like an agent in one environment, and records its decisions."""

    def __init__(self, agent: NamedAgent):
        self.named, self.agent = agent, agent.agent
        self.decisions: list[_Decision] = []
        self.evaluations = 0
        self._step = 0

    def initial(self, batch: int, seed: int) -> AgentState:
        """See ``Agent.initial``."""
        return self.agent.initial(batch, seed)

    def act(
        self,
        obs: UInt8[Tensor, "B C h w"],
        is_first: Bool[Tensor, " B"],
        state: AgentState,
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], AgentState]:
        """See ``Agent.act``."""
        start = time.perf_counter()
        action, after = self.agent.act(obs, is_first, state, explore)
        # The copy waits for an accelerator to finish.
        action = action.cpu()
        seconds = time.perf_counter() - start
        spent = _evaluations(after) - _evaluations(state)
        # Between two decisions a plan is only executed; a policy decides at every step.
        if spent or not isinstance(after.actor, PlanState):
            predicted = self.named.predicted_return(self.agent, after)
            self.decisions.append(_Decision(self._step, predicted, seconds))
        self.evaluations += spent
        self._step += 1
        return action, after


def _evaluations(state: AgentState) -> int:
    """Model evaluations so far; a policy makes none."""
    return int(state.actor.evaluations[0]) if isinstance(state.actor, PlanState) else 0


def _measured(agent: NamedAgent, env: PixelEnv, seeds: Sequence[int]) -> Row:
    discount = agent.agent.world_model.discount
    returns, predicted, actual, seconds, evaluations = [], [], [], [], 0
    for seed in seeds:
        recorder = _Recorder(agent)
        (episode,) = collect_episodes(
            env, recorder, 1, seed, explore=False, policy=agent.name, round=0
        )
        ended = bool(episode.is_terminal[-1])
        window = window_returns(episode.reward, agent.horizon, discount, ended)
        steps = [decision.step for decision in recorder.decisions]
        known = np.where(np.isnan(window[steps]), np.nan, 1.0)
        returns.append(float(episode.reward.sum()))
        predicted.append(_mean(known * [decision.predicted for decision in recorder.decisions]))
        actual.append(_mean(window[steps]))
        seconds += [decision.seconds for decision in recorder.decisions]
        evaluations += recorder.evaluations
    return Row(
        agent.name,
        np.array(returns),
        np.array(predicted),
        np.array(actual),
        decision_ms=float(np.median(seconds)) * 1e3,
        evaluations=evaluations / len(seconds),
    )


def window_returns(
    reward: Float[np.ndarray, " T"], horizon: int, discount: float, ended: bool
) -> Float[np.ndarray, " T"]:
    """The discounted return of the next H steps from each frame.

    Nothing comes after an episode that ``ended``. Where it was cut off instead, windows that
    reach beyond its last row are unknown (NaN).
    """
    rows = len(reward)
    padded = np.concatenate([reward, np.full(horizon, 0.0 if ended else np.nan)])
    weights = discount ** np.arange(horizon)
    return np.array([weights @ padded[t + 1 : t + 1 + horizon] for t in range(rows)])


def comparison_table(rows: Sequence[Row]) -> Table:
    """For people."""
    table = Table(title="the same model, the same start states (mean and 95 % interval)")
    table.add_column("agent")
    columns = ("return", "predicted return", "actual return", "exploitation gap", "ms")
    for column in (*columns, "evaluations"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.returns),
            f"{row.predicted.mean:.4g}",
            f"{row.actual.mean:.4g}",
            str(row.exploitation_gap),
            f"{row.decision_ms:.2f}",
            f"{row.evaluations:.0f}",
        )
    return table


def _measures(rows: Sequence[Row]) -> list[Measure]:
    def exact(values: dict[str, float]) -> dict[str, Interval]:
        return {name: Interval(value, value, value) for name, value in values.items()}

    spent = exact({row.name: row.evaluations for row in rows})
    return [
        Measure("return", {row.name: row.returns for row in rows}),
        Measure("exploitation gap", {row.name: row.exploitation_gap for row in rows}),
        Measure("ms per decision", exact({row.name: row.decision_ms for row in rows}), True),
        Measure("model evaluations per decision", spent, True),
    ]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _interval(values: np.ndarray) -> Interval:
    """Over the episodes that had a whole window."""
    known = values[~np.isnan(values)]
    return bootstrap_interval(known) if known.size else Interval(*[float("nan")] * 3)


def _plain(interval: Interval) -> dict[str, float | None]:
    return {k: None if np.isnan(v) else v for k, v in interval._asdict().items()}
