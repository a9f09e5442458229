"""The contract of model-free learners: transitions in, a policy and a value out."""

from abc import abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.base import Behaviour, Decider, ParameterGroup
from worldmodels.behaviours.experience import Experience
from worldmodels.types import ActionSpace, Distribution, Losses


class Learner(Decider):
    """Learns from transitions and asks for no model.

    Where features carry a history of gradients, the loss of the critic alone passes one back, so
    that an encoder may learn from it; actors and targets read features as they are.

    Attributes:
        on_policy: whether experience must be made by ``act`` as it is now.
    """

    on_policy: bool = False

    @abstractmethod
    def loss(self, experience: Experience) -> Losses:
        """The loss of every learned part: means over what happened."""

    def act(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch A"]:
        """The actions that experience should be made with: samples of the policy."""
        return self.policy(feature).sample()


LearnerFactory = Callable[[int, ActionSpace], Learner]


class LearnerBehaviour(Behaviour):
    """A behaviour that hands experience to a learner; subclasses say which.

    Args:
        feature_dim: F.
        action_space: what an action is.
        learner: called with the two.
    """

    def __init__(self, feature_dim: int, action_space: ActionSpace, learner: LearnerFactory):
        super().__init__()
        self.learner = learner(feature_dim, action_space)

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The learner's distribution of actions."""
        return self.learner.policy(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The learner's expected return."""
        return self.learner.value(feature)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The learner's."""
        return self.learner.parameter_groups()

    def after_update(self) -> None:
        """The learner's targets follow."""
        self.learner.after_update()
