"""Behaviours: policies and values that are learned inside the world model."""

from worldmodels.behaviours.actor_critic import ActorCritic
from worldmodels.behaviours.base import Behaviour
from worldmodels.behaviours.distillation import Distillation
from worldmodels.behaviours.gradients import DynamicsBackprop, PolicyGradient, Reinforce

__all__ = [
    "ActorCritic",
    "Behaviour",
    "Distillation",
    "DynamicsBackprop",
    "PolicyGradient",
    "Reinforce",
]
