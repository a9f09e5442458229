"""Planners: pure optimisers over action sequences that know no model."""

from worldmodels.planning.base import Plan, Planner
from worldmodels.planning.cem import CEM, ICEM
from worldmodels.planning.gradient import Gradient
from worldmodels.planning.hybrid import Hybrid
from worldmodels.planning.mpc import MPC, PlanState
from worldmodels.planning.mppi import MPPI, PDDM
from worldmodels.planning.sampling import RandomShooting

__all__ = [
    "CEM",
    "ICEM",
    "MPC",
    "MPPI",
    "PDDM",
    "Gradient",
    "Hybrid",
    "Plan",
    "PlanState",
    "Planner",
    "RandomShooting",
]
