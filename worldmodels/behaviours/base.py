"""The behaviour's contract: a policy and a value that are learned on latent states."""

from abc import ABC, abstractmethod
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodels.dynamics.base import detach_state, flatten_state, select_state
from worldmodels.planning.actor import Actor
from worldmodels.types import Batch, Configurable, Distribution, Losses, State
from worldmodels.world_model import LatentModel, WorldModel

Module = TypeVar("Module", bound=nn.Module)


class ParameterGroup(NamedTuple):
    """Parameters that learn at one rate, and whose gradient is clipped as one."""

    parameters: list[nn.Parameter]
    learning_rate: float


class PolicyValue(nn.Module, Configurable, ABC):
    """A policy and a value that read latent features, and their parameters for the optimiser.

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
        """All parameters that learn, by learning rate."""

    def update_target(self) -> None:
        """Called after every optimiser step: updates moving averages and counters."""
        return


class Behaviour(PolicyValue, Actor):
    """A policy and a value that learn from a model's latent states. As an actor, its policy acts.

    Attributes:
        validates: whether ``validate`` is to be called with held-out episodes.
    """

    name = "policy"
    validates: bool = False

    @abstractmethod
    def loss(self, world_model: LatentModel, batch: Batch, posterior: State) -> Losses:
        """The loss of every learned part.

        Its gradient reaches the behaviour's own parameters alone: neither the world model's nor
        ``posterior``.

        Args:
            world_model: the model that the latent states belong to.
            batch: the replayed sequences.
            posterior: their latent states, leading axes B T.
        """

    def validate(self, world_model: WorldModel, batch: Batch) -> dict[str, Tensor]:
        """Called once a round with a batch of held-out episodes; what it returns is logged."""
        return {}

    def initial(self, batch: int) -> tuple[()]:
        """Nothing: a policy remembers nothing between two frames."""
        return ()

    def act(
        self,
        model: LatentModel,
        latent: State,
        state: tuple[()],
        is_first: Bool[Tensor, " B"],
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], tuple[()]]:
        """The policy's mode, or a sample while exploring."""
        policy = self.policy(model.feature(latent))
        action = policy.sample() if explore else policy.mode()  # B A
        return action, ()


class StartStates(NamedTuple):
    """States to imagine from; ``continues`` is 0 where the task has ended, 1 elsewhere."""

    state: State
    continues: Float[Tensor, " N"]


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
    allowed = torch.ones_like(batch.is_terminal) if eligible is None else eligible  # B T
    rows = allowed.flatten().nonzero()[:, 0]  # of the B*T states
    chosen = rows[torch.randperm(len(rows), device=rows.device)[:count]]  # N
    # Detached: a behaviour's loss must not change the latents that it learns from.
    every = all_starts(batch, posterior)
    return StartStates(select_state(every.state, chosen), every.continues[chosen])


def all_starts(batch: Batch, posterior: State) -> StartStates:
    """All of a batch's states in their order, ``B T ... -> (B T) ...``, without history."""
    state = flatten_state(detach_state(posterior))
    return StartStates(state, (~batch.is_terminal).flatten().float())


def detached(module: Module) -> Module:
    """A copy that shares the module's numbers, and whose parameters receive no gradient.

    Gradients pass through the copy to its inputs. The module itself is not touched, so another
    thread may be computing its gradients meanwhile.
    """
    clone = object.__new__(type(module))
    parameters = {k: p if p is None else p.detach() for k, p in module._parameters.items()}
    children = {k: m if m is None else detached(m) for k, m in module._modules.items()}
    clone.__dict__ = module.__dict__ | {"_parameters": parameters, "_modules": children}
    if isinstance(module, nn.RNNBase):
        # GRU and LSTM layers read their parameters from a list of their own.
        clone.__dict__["_flat_weights"] = [parameters[name] for name in module._flat_weights_names]
    return clone
