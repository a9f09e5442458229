"""Everybody who can act on a run's world model."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from worldmodels.agent import Acting, Agent, ByGuidedPlanner, ByPlanner
from worldmodels.checkpoint import load, read_about
from worldmodels.evaluation.compare import (
    Entrant,
    guided_promise,
    plan_promise,
    policy_promise,
)
from worldmodels.planning import (
    CEM,
    ICEM,
    MPPI,
    PDDM,
    Gradient,
    Hybrid,
    Planner,
    RandomShooting,
)

PLANNERS: tuple[type[Planner], ...] = (RandomShooting, CEM, ICEM, MPPI, PDDM, Gradient, Hybrid)
POLICY = "policy"


def find_planner(name: str) -> type[Planner]:
    """A planner by its name, in whatever case.

    Raises:
        ValueError: when there is none of that name.
    """
    known = {planner.__name__.lower(): planner for planner in PLANNERS}
    if name.lower() not in known:
        close = get_close_matches(name.lower(), known, 1)
        hint = f"did you mean {known[close[0]].__name__}? " if close else ""
        choices = ", ".join(planner.__name__ for planner in PLANNERS)
        raise ValueError(f"unknown planner '{name}': {hint}choose of {choices}")
    return known[name.lower()]


def load_planning(run: Path | str, planner: str) -> Agent:
    """A run's agent that plans by another planner than the one it was trained with.

    Args:
        run: a run folder.
        planner: a planner's name; it plans as far ahead as the run's own, which keeps its options
            where it is meant. Or a YAML file with ``class_path`` and ``init_args``.

    Raises:
        FileNotFoundError: when there is no model, or no such file.
        ValueError: when there is no such planner, or an option does not fit it.
    """
    return load(run, planner=_chosen(run, planner), acting=_judging_alike(run, ByPlanner))


def agents(run: Path | str, planners: Sequence[str]) -> list[Entrant]:
    """The named planners (all when none is named); where the run has a behaviour, two more.

    These are its policy, and the run's own planner guided by it: student and teacher of a
    distillation. ``policy`` in place of planners names these two alone.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when a planner is unknown, or nobody is left.
    """
    names = [name for name in planners if name.lower() != POLICY]
    if not planners:
        names = [planner.__name__ for planner in PLANNERS]
    classes = [find_planner(name) for name in names]
    found = [
        Entrant(cls.__name__, load_planning(run, cls.__name__), plan_promise) for cls in classes
    ]
    if read_about(run)["agent"].get("behaviour"):
        policy = load(run, acting="worldmodels.agent.ByPolicy")
        guided = load(run, acting=_judging_alike(run, ByGuidedPlanner))
        found.append(Entrant(POLICY, policy, policy_promise))
        found.append(Entrant(guided.acting.name, guided, guided_promise))
    if not found:
        raise ValueError(f"{run} learned no policy: choose planners")
    return found


def _judging_alike(run: Path | str, acting: type[Acting]) -> dict[str, Any]:
    """This way of acting, with plans scored by what the run's own way scores them by."""
    own = (read_about(run)["agent"].get("acting") or {}).get("init_args", {})
    judge = {name: own[name] for name in ("objective", "aggregation") if name in own}
    return {"class_path": f"{acting.__module__}.{acting.__name__}", "init_args": judge}


def _chosen(run: Path | str, planner: str) -> dict[str, Any]:
    if Path(planner).suffix in (".yaml", ".yml"):
        given = yaml.safe_load(Path(planner).read_text())
        if not isinstance(given, dict) or "class_path" not in given:
            raise ValueError(f"{planner}: give class_path and init_args of a planner")
        return given
    cls = find_planner(planner)
    own = read_about(run)["agent"]["planner"]
    if own["class_path"].rpartition(".")[2] == cls.__name__:
        return own
    horizon = load(run).controller.planner.horizon
    path = f"worldmodels.planning.{cls.__name__}"
    return {"class_path": path, "init_args": {"horizon": horizon}}
