"""Two estimators of the policy gradient from imagined rollouts."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from worldmodels.types import Distribution


class PolicyGradient(ABC):
    """The actor's loss as a function of imagined returns.

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
            policy: the distributions of actions in the states that the actions were taken in.
            action: the imagined actions.
            returns: from those states, in units of their scale.
            baseline: the values of those states, in the same units.
        """


class Reinforce(PolicyGradient):
    """The score-function estimator: raises log-probabilities in proportion to the advantage.

    It is unbiased for all dynamics and both kinds of actions; its variance is higher than that of
    ``DynamicsBackprop``.

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
        # The advantage is a constant weight: only the log-probability is differentiated.
        advantage = (returns - baseline).detach()  # N H
        return -advantage * policy.log_prob(action.detach())  # N H


class DynamicsBackprop(PolicyGradient):
    """The pathwise estimator: differentiates returns through dynamics, rewards and values.

    Its variance is low where the dynamics are smooth. Discrete actions use the straight-through
    gradient.

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
        return -returns  # N H
