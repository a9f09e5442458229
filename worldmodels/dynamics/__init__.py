"""Latent dynamics: how a state moves under an action, and how a frame corrects it."""

from worldmodels.dynamics.base import Dynamics, Observed
from worldmodels.dynamics.ensemble import (
    CategoricalEnsembleRSSM,
    EnsembleRSSM,
    EnsembleState,
)
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.dynamics.members import TS1, Propagation, TSinf
from worldmodels.dynamics.rssm import RSSM, CategoricalRSSM, GaussianRSSM, RSSMState
from worldmodels.studies.cart_sources import ArrivalReward, ExactCartSwing, FittedCartSwing

__all__ = [
    "RSSM",
    "TS1",
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
    "Observed",
    "Propagation",
    "RSSMState",
    "TSinf",
]
