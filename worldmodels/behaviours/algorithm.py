"""The contract of RL algorithms: they learn a policy and a value from transitions."""

from abc import abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.base import Behaviour, ParameterGroup, PolicyValue
from worldmodels.behaviours.transitions import Transitions
from worldmodels.types import ActionSpace, Distribution, Losses


class Algorithm(PolicyValue):
    """Learns a policy and a value from transitions, and needs no model.

    Where features require gradients, only the critic's loss passes a gradient back to them, so
    that an encoder may learn from it; actors and targets read detached features.

    Attributes:
        on_policy: whether the transitions must come from the present ``act``.
    """

    on_policy: bool = False

    @abstractmethod
    def loss(self, transitions: Transitions) -> Losses:
        """The sum of all parts' losses: means over transitions, by their weights."""

    def act(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch A"]:
        """The actions to imagine transitions with: samples of the policy."""
        return self.policy(feature).sample()  # *batch A


AlgorithmFactory = Callable[[int, ActionSpace], Algorithm]


class AlgorithmBehaviour(Behaviour):
    """A behaviour whose policy and value are an algorithm's; subclasses choose the transitions.

    Args:
        feature_dim: F.
        action_space: what an action is.
        algorithm: ``SAC``, ``DQN`` or ``PPO``, called with the feature size and the action space.
    """

    def __init__(self, feature_dim: int, action_space: ActionSpace, algorithm: AlgorithmFactory):
        super().__init__()
        self.algorithm = algorithm(feature_dim, action_space)

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        return self.algorithm.policy(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        return self.algorithm.value(feature)

    def parameter_groups(self) -> list[ParameterGroup]:
        return self.algorithm.parameter_groups()

    def update_target(self) -> None:
        self.algorithm.update_target()
