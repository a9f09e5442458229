"""Latent dynamics: how a state moves under an action, and how a frame corrects it."""

from worldmodels.dynamics.base import Dynamics, Observed
from worldmodels.dynamics.ensemble import (
    CategoricalEnsembleRSSM,
    EnsembleRSSM,
    EnsembleState,
)
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.dynamics.members import KeepMember, Propagation, RedrawMember
from worldmodels.dynamics.rssm import RSSM, CategoricalRSSM, GaussianRSSM, RSSMState
from worldmodels.dynamics.sources import ArrivalReward, ExactCartSwing, FittedCartSwing

__all__ = [
    "RSSM",
    "ArrivalReward",
    "CategoricalEnsembleRSSM",
    "CategoricalRSSM",
    "Dynamics",
    "EnsembleRSSM",
    "EnsembleState",
    "ExactCartSwing",
    "FittedCartSwing",
    "FrameStack",
    "GaussianRSSM",
    "KeepMember",
    "Observed",
    "Propagation",
    "RSSMState",
    "RedrawMember",
]
