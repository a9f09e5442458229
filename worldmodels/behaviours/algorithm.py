"""The contract of RL algorithms: transitions in, a policy and a value out."""

from abc import abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.base import Behaviour, ParameterGroup, PolicyValue
from worldmodels.behaviours.transitions import Transitions
from worldmodels.types import ActionSpace, Distribution, Losses


class Algorithm(PolicyValue):
    """Learns from transitions and asks for no model.

    Where features carry a history of gradients, the loss of the critic alone passes one back, so
    that an encoder may learn from it; actors and targets read features as they are.

    Attributes:
        on_policy: whether transitions must be made by ``act`` as it is now.
    """

    on_policy: bool = False

    @abstractmethod
    def loss(self, transitions: Transitions) -> Losses:
        """The loss of every learned part: means over what happened."""

    def act(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch A"]:
        """The actions that transitions should be made with: samples of the policy."""
        return self.policy(feature).sample()


AlgorithmFactory = Callable[[int, ActionSpace], Algorithm]


class AlgorithmBehaviour(Behaviour):
    """A behaviour that hands transitions to an algorithm; subclasses say which.

    Args:
        feature_dim: F.
        action_space: what an action is.
        algorithm: called with the two.
    """

    def __init__(self, feature_dim: int, action_space: ActionSpace, algorithm: AlgorithmFactory):
        super().__init__()
        self.algorithm = algorithm(feature_dim, action_space)

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The algorithm's distribution of actions."""
        return self.algorithm.policy(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The algorithm's expected return."""
        return self.algorithm.value(feature)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The algorithm's."""
        return self.algorithm.parameter_groups()

    def update_target(self) -> None:
        """The algorithm's targets follow."""
        self.algorithm.update_target()
