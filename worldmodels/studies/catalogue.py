"""The project's studies by name; any other one is named ``package.module:Class``."""

import pkgutil

from worldmodels.checks import did_you_mean
from worldmodels.studies.base import Study

STUDIES = {
    "any_learner": "worldmodels.studies.any_learner:AnyLearner",
    "augmentation": "worldmodels.studies.augmentation:Augmentation",
    "rollout_length": "worldmodels.studies.rollout_length:RolloutLengths",
    "elites": "worldmodels.studies.elites:Elites",
    "cliff": "worldmodels.studies.cliff:Cliff",
    "closed_loop": "worldmodels.studies.closed_loop:ClosedLoop",
    "exploitation": "worldmodels.studies.exploitation:Exploitation",
    "gradient_planning": "worldmodels.studies.gradient_planning:GradientPlanning",
    "planner_tradeoff": "worldmodels.studies.planner_tradeoff:PlannerTradeoff",
    "reward_swap": "worldmodels.studies.reward_swap:RewardSwap",
    "sample_efficiency": "worldmodels.studies.sample_efficiency:SampleEfficiency",
    "sources": "worldmodels.studies.sources:Sources",
    "terminal_value": "worldmodels.studies.terminal_value:TerminalValue",
    "distillation": "worldmodels.studies.distillation:DistillationStudy",
    "simulator": "worldmodels.studies.simulator:Simulator",
    "pddm": "worldmodels.studies.pddm:PDDM",
}


def find_study(name: str) -> type[Study]:
    """The class of a study.

    Raises:
        ValueError: when there is none of that name.
        TypeError: when the name leads to something else.
    """
    if name not in STUDIES and ":" not in name:
        raise ValueError(f"no study '{name}': {did_you_mean(name, STUDIES)}")
    path = STUDIES.get(name, name)
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"study '{path}' cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Study)):
        raise TypeError(f"'{path}' is no study: give the path package.module:Class of a Study")
    return found
