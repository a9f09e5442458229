"""Terms of the world model's loss: with a decoder, and without one."""

from worldmodels.losses.base import LossTerm
from worldmodels.losses.consistency import LatentConsistency
from worldmodels.losses.contrastive import InfoNCE
from worldmodels.losses.kl import BalancedKL
from worldmodels.losses.prediction import Continues, Reward
from worldmodels.losses.reconstruction import Reconstruction
from worldmodels.losses.redundancy import RedundancyReduction

__all__ = [
    "BalancedKL",
    "Continues",
    "InfoNCE",
    "LatentConsistency",
    "LossTerm",
    "Reconstruction",
    "RedundancyReduction",
    "Reward",
]
