"""Latent dynamics: how a state moves under an action, and how a frame corrects it."""

from worldmodels.dynamics.base import Dynamics, Observed
from worldmodels.dynamics.ensemble import (
    CategoricalEnsembleRSSM,
    EnsembleRSSM,
    EnsembleState,
)
from worldmodels.dynamics.members import KeepMember, Propagation, RedrawMember
from worldmodels.dynamics.rssm import RSSM, CategoricalRSSM, GaussianRSSM, RSSMState

__all__ = [
    "RSSM",
    "CategoricalEnsembleRSSM",
    "CategoricalRSSM",
    "Dynamics",
    "EnsembleRSSM",
    "EnsembleState",
    "GaussianRSSM",
    "KeepMember",
    "Observed",
    "Propagation",
    "RSSMState",
    "RedrawMember",
]
