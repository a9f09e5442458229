"""Everything that can act in a run's world model: planners, the policy, both together."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from einops import repeat
from jsonargparse import ArgumentError

from worldmodels.agent import Agent, AgentState
from worldmodels.behaviours.base import Behaviour
from worldmodels.checks import did_you_mean
from worldmodels.config import OptionParser, explain
from worldmodels.dynamics.base import repeat_state
from worldmodels.evaluation.subject import Subject
from worldmodels.planning import (
    CEM,
    ICEM,
    MPC,
    MPPI,
    PDDM,
    Gradient,
    Hybrid,
    Planner,
    RandomShooting,
)
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

PLANNERS: tuple[type[Planner], ...] = (RandomShooting, CEM, ICEM, MPPI, PDDM, Gradient, Hybrid)
POLICY = "policy"
SAMPLES = 16
"""Imagined sequences over which a predicted return is averaged, where it is no plan's score."""

PlannerChoice = str | Path | Planner
"""A planner's name, its class path (``my_lab.planners.Mine``), a YAML file, or a planner."""

PredictedReturn = Callable[[Agent, AgentState], float]
"""The discounted return over H steps that a decision expects, from the state after it."""


class NamedAgent(NamedTuple):
    """An agent to compare: its name, the H steps that it looks ahead, and what it predicts."""

    name: str
    agent: Agent
    horizon: int
    predicted_return: PredictedReturn


def find_planner(name: str) -> type[Planner]:
    """A planner by its name, in whatever case.

    Raises:
        ValueError: when there is none of that name.
    """
    known = {planner.__name__: planner for planner in PLANNERS}
    for own, planner in known.items():
        if own.lower() == name.lower():
            return planner
    choices = f"choose one of {', '.join(known)}, or give a class path"
    raise ValueError(f"unknown planner '{name}': {did_you_mean(name, known, choices)}")


def planner_for(agent: Agent, planner: PlannerChoice) -> Planner:
    """A planner that fits an agent's action space.

    Args:
        agent: who is to plan.
        planner: a name or class path; it plans as far ahead as the agent's own planner, which
            keeps its options where it is the one that is named. Or a YAML file with
            ``class_path`` and ``init_args``, or a planner itself.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when there is no such planner, or an option does not fit it.
    """
    space = agent.world_model.action_space
    if isinstance(planner, Planner):
        if planner.action_space != space:
            raise ValueError(
                f"{type(planner).__name__} searches {planner.action_space}, this agent acts by "
                f"{space}: build it with the agent's action space"
            )
        return planner
    if Path(planner).suffix in (".yaml", ".yml"):
        return _built(space, _described(Path(planner)))
    name = str(planner)
    path = name if "." in name else f"worldmodels.planning.{find_planner(name).__name__}"
    own = own_planner(agent)
    if own is not None and path.rpartition(".")[2] == type(own).__name__:
        return own
    return _built(space, {"class_path": path, "init_args": {"horizon": horizon_of(agent)}})


def planning_agent(agent: Agent, planner: Planner, guide: Behaviour | None = None) -> Agent:
    """The same model and plans scored alike (objective, particles), by another planner.

    Raises:
        ValueError: when the agent's model predicts nothing.
    """
    kind, options = MPC, {}
    if isinstance(agent.actor, MPC):
        kind, options = type(agent.actor), agent.actor.init_args
    mpc = kind(**(options | {"planner": planner, "guide": guide}))
    return Agent(agent.world_model, mpc, agent.noise)


def acting_agent(
    subject: Subject, planner: PlannerChoice | None = None, policy: bool = False
) -> Agent:
    """The agent as trained, or with another planner, or with its policy alone.

    Raises:
        ValueError: when both are asked for, or there is no such planner or no policy.
    """
    if policy and planner is not None:
        raise ValueError(f"policy and planner={planner}: only one can act, leave out the other")
    if policy:
        return Agent(subject.agent.world_model, subject.behaviour, subject.agent.noise)
    if planner is not None:
        return planning_agent(subject.agent, planner_for(subject.agent, planner))
    return subject.agent


def agents_of(subject: Subject, planners: Sequence[PlannerChoice] = ()) -> list[NamedAgent]:
    """The named planners (all when none is named), the run's own; its policy where it has one.

    The policy comes as it is and as the guide of the run's own planner: student and teacher of a
    distillation. ``policy`` in place of planners names these two alone.

    Raises:
        ValueError: when a planner is unknown, nothing is left, or the run is model-free.
    """
    agent, horizon = subject.agent, horizon_of(subject.agent)
    _ = subject.model  # a model-free agent is refused
    named = [choice for choice in planners if str(choice).lower() != POLICY]
    chosen = named if planners else [planner.__name__ for planner in PLANNERS]
    searches = [planner_for(agent, choice) for choice in chosen]
    own = own_planner(agent)
    if own is not None and chosen and not any(search is own for search in searches):
        searches.insert(0, own)
    found = [
        NamedAgent(type(search).__name__, planning_agent(agent, search), search.horizon, plan_value)
        for search in searches
    ]
    if agent.behaviour is not None:
        policy = acting_agent(subject, policy=True)
        search = CEM(agent.world_model.action_space) if own is None else own
        guided = planning_agent(agent, search, agent.behaviour)
        predicted = partial(policy_return, horizon=horizon)
        found.append(NamedAgent(POLICY, policy, horizon, predicted))
        found.append(NamedAgent(guided.actor.name, guided, search.horizon, guided_return))
    if not found:
        raise ValueError(f"{subject.name} learned no policy: choose planners")
    return _with_different_names(found)


def own_planner(agent: Agent) -> Planner | None:
    """What an agent plans by; None where its policy acts."""
    return agent.actor.planner if isinstance(agent.actor, MPC) else None


def horizon_of(agent: Agent) -> int:
    """How far an agent looks ahead; as far as planners do by default where its policy acts."""
    own = own_planner(agent)
    return CEM(agent.world_model.action_space).horizon if own is None else own.horizon


def plan_value(agent: Agent, after: AgentState) -> float:
    """The score of the plan in force when it was made."""
    return float(after.actor.value[0])


def policy_return(agent: Agent, after: AgentState, horizon: int) -> float:
    """The mean return of imagined sequences of the policy, as long as the planners' plans."""
    model, behaviour = agent.world_model, agent.behaviour
    assert isinstance(model, WorldModel)
    assert behaviour is not None
    start = repeat_state(after.latent, SAMPLES)
    with torch.no_grad(), _noise_put_back(after):
        imagined = model.imagine(start, lambda feature: behaviour.policy(feature).mode(), horizon)
    reached = torch.cumprod(imagined.discount, -1) / imagined.discount  # N H
    return float((reached * imagined.reward).sum(-1).mean())


def guided_return(agent: Agent, after: AgentState) -> float:
    """The mean return of the plan in force, predicted again without the value at its end."""
    model, mpc = agent.world_model, agent.actor
    assert isinstance(model, WorldModel)
    assert isinstance(mpc, MPC)
    start = repeat_state(after.latent, SAMPLES)
    # The plan has moved on by the action that was just taken.
    plan = torch.cat([after.action[:, None], after.actor.actions[:, :-1]], 1)  # 1 H A
    plans = repeat(plan, "1 H A -> B 1 H A", B=SAMPLES)
    with torch.no_grad(), _noise_put_back(after):
        scores = model.score(start, plans, objective=mpc.objective, aggregation=mpc.aggregation)
    return float(scores.mean())


def _noise_put_back(state: AgentState) -> Any:
    # Looking must not change what is drawn later.
    device = state.action.device
    return torch.random.fork_rng([] if device.type == "cpu" else [device])


def _with_different_names(agents: list[NamedAgent]) -> list[NamedAgent]:
    """Two planners of one class, from two files, are told apart by a number."""
    counts: dict[str, int] = {}
    named = []
    for agent in agents:
        number = counts[agent.name] = counts.get(agent.name, 0) + 1
        named.append(agent if number == 1 else agent._replace(name=f"{agent.name} {number}"))
    return named


def _described(file: Path) -> dict[str, Any]:
    try:
        given = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(given, dict) or "class_path" not in given:
        raise ValueError(f"{file}: give class_path and init_args of a planner")
    return given


def _built(space: ActionSpace, given: dict[str, Any]) -> Planner:
    parser = OptionParser()
    parser.add_argument("--planner", type=Callable[[ActionSpace], Planner])
    try:
        parts = parser.instantiate(parser.parse_object({"planner": given}))
    except ArgumentError as error:
        reason = explain(error).removeprefix("--planner: ")
        raise ValueError(f"planner {given['class_path']}: {reason}") from error
    return parts["planner"](space)
