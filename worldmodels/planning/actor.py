"""What an agent acts by: a planner, or a policy."""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from worldmodels.types import State
from worldmodels.world_model import LatentModel


class Actor(ABC):
    """Turns a latent state into an action. What it remembers is a value that the caller holds.

    Attributes:
        name: recorded with the episodes that it plays.
    """

    name: str

    @abstractmethod
    def initial(self, batch: int) -> Any:
        """What it remembers before the first action, for ``batch`` environments."""

    @abstractmethod
    def act(
        self,
        model: LatentModel,
        latent: State,
        state: Any,
        is_first: Bool[Tensor, " B"],
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], Any]:
        """The next action of every environment.

        Args:
            model: what the latent states belong to.
            latent: of every environment, rows B.
            state: what this actor remembers, from ``initial`` or from the last call.
            is_first: where an episode begins; what is remembered of these rows is forgotten.
            explore: whether a stochastic policy is sampled; its mode is taken otherwise.

        Returns:
            The actions, and what to remember.
        """
