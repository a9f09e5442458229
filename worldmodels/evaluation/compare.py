"""Who acts best in the same world model, and does a plan get what it promises?"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import repeat
from jaxtyping import Bool, Float, UInt8
from rich.table import Table
from torch import Tensor

from worldmodels.agent import Agent, AgentState, ByGuidedPlanner
from worldmodels.dynamics.base import repeat_state
from worldmodels.envs.base import PixelEnv
from worldmodels.evaluation.statistics import bootstrap_interval
from worldmodels.replay.collect import collect_episodes
from worldmodels.viz.bands import Interval

DREAMS = 16

Promise = Callable[[Agent, AgentState], float]
"""The discounted return over H steps that a decision expects, from the state after it."""


class Entrant(NamedTuple):
    """Somebody who acts on the world model, and how to read what they promise."""

    name: str
    agent: Agent
    promise: Promise


class Comparison(NamedTuple):
    """One contender's measurements.

    Attributes:
        name: of the contender.
        returns: sum of rewards of each episode.
        promised: mean over an episode's decisions of the discounted return promised over H steps.
        realised: mean over the same decisions of the discounted return of the same H steps; NaN,
            as ``promised``, where a time limit left no whole window.
        decision_ms: median milliseconds per decision.
        evaluations: model evaluations per decision (see ``Plan``).
    """

    name: str
    returns: Float[np.ndarray, " N"]
    promised: Float[np.ndarray, " N"]
    realised: Float[np.ndarray, " N"]
    decision_ms: float
    evaluations: float

    def gap(self) -> Interval:
        """Promised minus realised: what planning against the model's errors seems to win."""
        return _interval(self.promised - self.realised)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        intervals = {
            "return": bootstrap_interval(self.returns),
            "promised": _interval(self.promised),
            "realised": _interval(self.realised),
            "gap": self.gap(),
        }
        return {
            **{name: _plain(interval) for name, interval in intervals.items()},
            "returns": self.returns.tolist(),
            "decision_ms": round(self.decision_ms, 4),
            "evaluations": self.evaluations,
        }


class _Decision(NamedTuple):
    step: int
    promised: float
    seconds: float


class _Witness:
    """Acts like a contender in one environment, and writes its decisions down."""

    def __init__(self, contender: Entrant):
        self.contender = contender
        self.decisions: list[_Decision] = []
        self.evaluations = 0
        self._step = 0

    def initial(self, batch: int, seed: int) -> AgentState:
        """See ``Agent.initial``."""
        return self.contender.agent.initial(batch, seed)

    def act(
        self,
        obs: UInt8[Tensor, "B C h w"],
        is_first: Bool[Tensor, " B"],
        state: AgentState,
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], AgentState]:
        """See ``Agent.act``."""
        agent = self.contender.agent
        start = time.perf_counter()
        action, after = agent.act(obs, is_first, state, explore)
        # The copy waits for an accelerator to finish.
        action = action.cpu()
        seconds = time.perf_counter() - start
        spent = int(after.plan.evaluations[0] - state.plan.evaluations[0])
        # Between two decisions a plan is only followed; a policy decides at every step.
        if spent or not int(after.plan.evaluations[0]):
            promised = self.contender.promise(agent, after)
            self.decisions.append(_Decision(self._step, promised, seconds))
        self.evaluations += spent
        self._step += 1
        return action, after


def plan_promise(agent: Agent, after: AgentState) -> float:
    """The score of the plan in force when it was made."""
    return float(after.plan.value[0])


def policy_promise(agent: Agent, after: AgentState) -> float:
    """The mean return of the policy's own dreams, as long as the planner's plans."""
    assert agent.behaviour is not None
    model, behaviour = agent.world_model, agent.behaviour
    start = repeat_state(after.latent, DREAMS)
    # Looking must not change what is drawn later.
    with torch.no_grad(), torch.random.fork_rng():
        horizon = agent.controller.planner.horizon
        dream = model.imagine(start, lambda feature: behaviour.policy(feature).mode(), horizon)
    before = torch.cumprod(dream.discount, -1) / dream.discount
    return float((before * dream.reward).sum(-1).mean())


def guided_promise(agent: Agent, after: AgentState) -> float:
    """The mean return of the plan in force, dreamt again without the value of where it ends."""
    assert isinstance(agent.acting, ByGuidedPlanner)
    start = repeat_state(after.latent, DREAMS)
    # The plan has moved on by the action that was just taken.
    plan = torch.cat([after.action[:, None], after.plan.actions[:, :-1]], 1)
    plans = repeat(plan, "1 H A -> B 1 H A", B=DREAMS)
    judge = (None, agent.acting.objective, agent.acting.aggregation)
    with torch.no_grad(), torch.random.fork_rng():
        return float(agent.world_model.score(start, plans, *judge).mean())


def compare(
    agents: Iterable[Entrant],
    env: PixelEnv,
    episodes: int,
    seed: int,
    on_done: Callable[[Comparison], object] = lambda comparison: None,
) -> list[Comparison]:
    """Everybody plays the same episodes: episode k starts from the environment's seed + k.

    Args:
        agents: who plays.
        env: one copy of the environment.
        episodes: how many each.
        seed: of the first episode.
        on_done: receives each contender's numbers as they come.

    Raises:
        ValueError: when there is more than one copy of the environment, or no episode.
    """
    if env.num_envs != 1:
        raise ValueError(f"num_envs={env.num_envs}: compare plays one environment at a time")
    if episodes < 1:
        raise ValueError(f"episodes={episodes}: ask for at least 1")
    compared = []
    for contender in agents:
        compared.append(_measure(contender, env, range(seed, seed + episodes)))
        on_done(compared[-1])
    return compared


def _measure(contender: Entrant, env: PixelEnv, seeds: Sequence[int]) -> Comparison:
    horizon = contender.agent.controller.planner.horizon
    discount = contender.agent.world_model.discount
    returns, promised, realised, seconds, evaluations = [], [], [], [], 0
    for seed in seeds:
        witness = _Witness(contender)
        (episode,) = collect_episodes(
            env, witness, 1, seed, explore=False, policy=contender.name, round=0
        )
        ended = bool(episode.is_terminal[-1])
        window = window_returns(episode.reward, horizon, discount, ended)
        steps = [decision.step for decision in witness.decisions]
        there = np.where(np.isnan(window[steps]), np.nan, 1.0)
        returns.append(float(episode.reward.sum()))
        promised.append(_mean(there * [decision.promised for decision in witness.decisions]))
        realised.append(_mean(window[steps]))
        seconds += [decision.seconds for decision in witness.decisions]
        evaluations += witness.evaluations
    per_decision = evaluations / len(seconds)
    return Comparison(
        name=contender.name,
        returns=np.array(returns),
        promised=np.array(promised),
        realised=np.array(realised),
        decision_ms=float(np.median(seconds)) * 1e3,
        evaluations=per_decision,
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


def comparison_table(compared: Sequence[Comparison]) -> Table:
    """For people."""
    table = Table(title="the same model, the same start states (mean and 95 % interval)")
    table.add_column("who")
    for column in ("return", "promised", "realised", "gap", "ms", "evaluations"):
        table.add_column(column, justify="right")
    for row in compared:
        table.add_row(
            row.name,
            str(bootstrap_interval(row.returns)),
            f"{_interval(row.promised).mean:.4g}",
            f"{_interval(row.realised).mean:.4g}",
            str(row.gap()),
            f"{row.decision_ms:.2f}",
            f"{row.evaluations:.0f}",
        )
    return table


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _interval(values: np.ndarray) -> Interval:
    """Over the episodes that had a whole window."""
    known = values[~np.isnan(values)]
    return bootstrap_interval(known) if known.size else Interval(*[float("nan")] * 3)


def _plain(interval: Interval) -> dict[str, float | None]:
    return {k: None if np.isnan(v) else v for k, v in interval._asdict().items()}
