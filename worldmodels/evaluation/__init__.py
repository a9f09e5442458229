"""How good an agent acts, and how far its model's dreams can be trusted."""

from worldmodels.evaluation.imagine import imagine_episode
from worldmodels.evaluation.open_loop import OpenLoopError, open_loop
from worldmodels.evaluation.returns import Returns, evaluate_returns
from worldmodels.evaluation.statistics import bootstrap_band, bootstrap_interval

__all__ = [
    "OpenLoopError",
    "Returns",
    "bootstrap_band",
    "bootstrap_interval",
    "evaluate_returns",
    "imagine_episode",
    "open_loop",
]
