"""The behaviour's contract: a policy and a value that are learned inside the model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodels.dynamics.base import detach_state, flatten_state, select_state
from worldmodels.types import Batch, Distribution, Losses, State
from worldmodels.world_model import WorldModel


class ParameterGroup(NamedTuple):
    """Parameters that learn at one rate, and whose gradient is clipped as one."""

    parameters: list[nn.Parameter]
    learning_rate: float


class PolicyValue(nn.Module, ABC):
    """A policy and a value over latent features, and what an optimiser should know of them.

    Subclasses take ``(feature_dim, action_space)`` as their first two arguments, everything else
    has a default.
    """

    @abstractmethod
    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The distribution of actions."""

    @abstractmethod
    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The expected discounted return from here on."""

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Everything that an optimiser should move."""

    def after_update(self) -> None:
        """Called after every optimiser step: moving averages follow, counters count."""
        return


class Behaviour(PolicyValue):
    """A policy and a value that learn inside a world model.

    Attributes:
        validates: whether ``validate`` wants to see held-out episodes.
    """

    validates: bool = False

    @abstractmethod
    def loss(self, world_model: WorldModel, batch: Batch, posterior: State) -> Losses:
        """The loss of every learned part.

        Its gradient reaches the behaviour's own parameters alone: neither the world model's nor
        ``posterior``.

        Args:
            world_model: where to imagine.
            batch: the replayed sequences.
            posterior: their latent states, leading axes B T.
        """

    def validate(self, world_model: WorldModel, batch: Batch) -> dict[str, Tensor]:
        """Called once a round with a batch of held-out episodes; what it returns is logged."""
        return {}


class StartStates(NamedTuple):
    """States to imagine from; ``alive`` is 0 where the task has ended, 1 elsewhere."""

    state: State
    alive: Float[Tensor, " N"]


def sample_starts(
    batch: Batch,
    posterior: State,
    count: int | None,
    eligible: Bool[Tensor, "B T"] | None = None,
) -> StartStates:
    """A random subset of a batch's states, without their history of gradients.

    Args:
        batch: the replayed sequences.
        posterior: their latent states, leading axes B T.
        count: how many; all when None, or when there are fewer.
        eligible: which states may be drawn; all when None.
    """
    allowed = torch.ones_like(batch.is_terminal) if eligible is None else eligible
    rows = allowed.flatten().nonzero()[:, 0]
    chosen = rows[torch.randperm(len(rows), device=rows.device)[:count]]
    # Detached: what is learned here must not bend the latents it is learned from.
    state = select_state(flatten_state(detach_state(posterior)), chosen)
    return StartStates(state, (~batch.is_terminal).flatten()[chosen].float())


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside the block, gradients pass through ``module`` but never reach its parameters.

    The parameters themselves stay as they are (the block sees views that need no gradient): another
    thread may be computing their gradients meanwhile.
    """
    learning = [
        (owner, name, parameter)
        for owner in module.modules()
        for name, parameter in owner._parameters.items()
        if parameter is not None and parameter.requires_grad
    ]
    for owner, name, parameter in learning:
        owner._parameters[name] = parameter.detach()  # type: ignore[assignment]
    try:
        yield
    finally:
        for owner, name, parameter in learning:
            owner._parameters[name] = parameter
