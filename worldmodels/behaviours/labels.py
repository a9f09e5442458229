"""The teacher's newest labels, kept so that the student learns from each more than once."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Labels(NamedTuple):
    """Features, the teacher's actions there, and the weight of each label in the loss.

    The weight is the probability that the state is reached: 0 where the task has ended.
    """

    feature: Float[Tensor, "N F"]
    action: Float[Tensor, "N A"]
    weight: Float[Tensor, " N"]


class LabelMemory(nn.Module):
    """A ring buffer of labels: the newest replace the oldest, whose latents are out of date.

    Its contents are buffers, so that a checkpoint holds them and a resumed run draws the same
    labels.

    Args:
        feature_dim: F.
        action_dim: A.
        capacity: labels kept.
    """

    feature: Tensor
    action: Tensor
    weight: Tensor
    written: Tensor

    def __init__(self, feature_dim: int, action_dim: int, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.register_buffer("feature", torch.zeros(capacity, feature_dim))
        self.register_buffer("action", torch.zeros(capacity, action_dim))
        self.register_buffer("weight", torch.zeros(capacity))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def add(self, labels: Labels) -> None:
        """Writes labels over the oldest ones."""
        count = len(labels.feature)
        order = torch.arange(count, device=self.written.device)  # N
        slots = (self.written + order) % self.capacity  # N
        self.feature[slots] = labels.feature
        self.action[slots] = labels.action
        self.weight[slots] = labels.weight
        self.written += count

    def draw(self, count: int) -> Labels:
        """A random minibatch with replacement."""
        # Scaled uniform numbers rather than randint: the bound stays on the device.
        held = self.written.clamp(max=self.capacity)
        drawn = torch.rand(count, device=self.written.device) * held  # N
        slots = drawn.long().clamp(max=self.capacity - 1)  # N
        return Labels(self.feature[slots], self.action[slots], self.weight[slots])
