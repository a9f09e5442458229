"""How well an agent acts, and how far its model's predictions can be trusted."""

from worldmodels.evaluation.agents import NamedAgent, agents_of, planner_for, planning_agent
from worldmodels.evaluation.compare import Comparison, Row, compare, compare_agents
from worldmodels.evaluation.evaluate import Report, evaluate
from worldmodels.evaluation.imagine import Dream, imagine, imagine_episode
from worldmodels.evaluation.open_loop import OpenLoopError, open_loop
from worldmodels.evaluation.record import record
from worldmodels.evaluation.returns import Returns, evaluate_returns
from worldmodels.evaluation.statistics import bootstrap_band, bootstrap_interval

__all__ = [
    "Comparison",
    "Dream",
    "NamedAgent",
    "OpenLoopError",
    "Report",
    "Returns",
    "Row",
    "agents_of",
    "bootstrap_band",
    "bootstrap_interval",
    "compare",
    "compare_agents",
    "evaluate",
    "evaluate_returns",
    "imagine",
    "imagine_episode",
    "open_loop",
    "planner_for",
    "planning_agent",
    "record",
]
