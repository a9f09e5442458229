"""Latent dynamics: how a state moves under an action, and how a frame corrects it."""

from worldmodels.dynamics.base import Dynamics
from worldmodels.dynamics.block_rssm import BlockRSSM
from worldmodels.dynamics.ensemble import (
    CategoricalEnsembleRSSM,
    EnsembleRSSM,
    EnsembleState,
)
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.dynamics.members import TS1, Propagation, TSinf
from worldmodels.dynamics.rssm import RSSM, CategoricalRSSM, GaussianRSSM, RSSMState

__all__ = [
    "RSSM",
    "TS1",
    "BlockRSSM",
    "CategoricalEnsembleRSSM",
    "CategoricalRSSM",
    "Dynamics",
    "EnsembleRSSM",
    "EnsembleState",
    "FrameStack",
    "GaussianRSSM",
    "Propagation",
    "RSSMState",
    "TSinf",
]
