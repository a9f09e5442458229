"""Latent dynamics: how a state moves under an action, and how a frame corrects it."""

from worldmodels.dynamics.base import Dynamics, Observed
from worldmodels.dynamics.rssm import RSSM, CategoricalRSSM, GaussianRSSM, RSSMState

__all__ = ["RSSM", "CategoricalRSSM", "Dynamics", "GaussianRSSM", "Observed", "RSSMState"]
