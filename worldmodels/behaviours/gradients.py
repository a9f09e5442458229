"""The two ways in which an imagined rollout teaches an actor."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from worldmodels.types import Distribution


class PolicyGradient(ABC):
    """How the actor's loss follows from imagined returns.

    Attributes:
        through_dynamics: whether the rollout must be differentiable in its actions.
    """

    through_dynamics: bool

    @abstractmethod
    def loss(
        self,
        policy: Distribution,
        action: Float[Tensor, "N H A"],
        returns: Float[Tensor, "N H"],
        baseline: Float[Tensor, "N H"],
    ) -> Float[Tensor, "N H"]:
        """The loss of every imagined step.

        Args:
            policy: at the states that the actions were taken in.
            action: the imagined actions.
            returns: from those states, in units of their scale.
            baseline: the values of those states, in the same units.
        """


class Reinforce(PolicyGradient):
    """Makes actions likelier by how much better than expected they turned out.

    Unbiased whatever the dynamics, for both kinds of actions; its variance is higher.

    Reference: Williams, 1992; Hafner et al., 2023 (DreamerV3), equation 11.
    """

    through_dynamics = False

    def loss(
        self,
        policy: Distribution,
        action: Float[Tensor, "N H A"],
        returns: Float[Tensor, "N H"],
        baseline: Float[Tensor, "N H"],
    ) -> Float[Tensor, "N H"]:
        """``-(returns - baseline) log policy(action)``."""
        # The advantage is a weight, not something to maximise.
        return -(returns - baseline).detach() * policy.log_prob(action.detach())


class DynamicsBackprop(PolicyGradient):
    """Ascends the returns themselves, through the model's dynamics, rewards and values.

    Low variance where the dynamics are smooth; choices pass their gradient straight through.

    Reference: Hafner et al., 2020 (Dreamer), equation 7.
    """

    through_dynamics = True

    def loss(
        self,
        policy: Distribution,
        action: Float[Tensor, "N H A"],
        returns: Float[Tensor, "N H"],
        baseline: Float[Tensor, "N H"],
    ) -> Float[Tensor, "N H"]:
        """``-returns``."""
        return -returns
