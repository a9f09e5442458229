"""Behaviours: policies and values that are learned inside the world model."""

from worldmodels.behaviours.actor_critic import ActorCritic
from worldmodels.behaviours.algorithm import Algorithm
from worldmodels.behaviours.base import Behaviour
from worldmodels.behaviours.branches import Branches, EpisodeStarts, EveryState
from worldmodels.behaviours.distillation import Distillation
from worldmodels.behaviours.dqn import DQN
from worldmodels.behaviours.gradients import DynamicsBackprop, PolicyGradient, Reinforce
from worldmodels.behaviours.lengths import (
    FixedLength,
    LinearLength,
    RolloutLength,
    ValidatedLength,
)
from worldmodels.behaviours.mbpo import MBPO
from worldmodels.behaviours.model_free import ModelFree
from worldmodels.behaviours.ppo import PPO
from worldmodels.behaviours.sac import SAC

__all__ = [
    "DQN",
    "MBPO",
    "PPO",
    "SAC",
    "ActorCritic",
    "Algorithm",
    "Behaviour",
    "Branches",
    "Distillation",
    "DynamicsBackprop",
    "EpisodeStarts",
    "EveryState",
    "FixedLength",
    "LinearLength",
    "ModelFree",
    "PolicyGradient",
    "Reinforce",
    "RolloutLength",
    "ValidatedLength",
]
