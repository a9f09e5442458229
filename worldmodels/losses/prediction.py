"""The losses of the two heads that every planner and behaviour reads: reward and continuation."""

from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_at_least
from worldmodels.losses.base import LatentModel, LossTerm, Observed
from worldmodels.types import Batch


class Reward(LossTerm):
    """Negative log-likelihood of the reward received on arrival at each frame.

    Reference: Hafner et al., 2019 (PlaNet), section 3.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        check_at_least("Reward", 0, weight=weight)
        self.weights = {"reward": weight}

    def forward(
        self, model: LatentModel, batch: Batch, observed: Observed
    ) -> dict[str, Float[Tensor, "B T"]]:
        """``reward``."""
        return {"reward": model.reward.loss(observed.feature, batch.reward)}


class Continues(LossTerm):
    """Cross-entropy of whether the episode goes on (the state is not terminal).

    Reference: Hafner et al., 2021 (DreamerV2), equation 1.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        check_at_least("Continues", 0, weight=weight)
        self.weights = {"continue": weight}

    def forward(
        self, model: LatentModel, batch: Batch, observed: Observed
    ) -> dict[str, Float[Tensor, "B T"]]:
        """``continue``."""
        goes_on = (~batch.is_terminal).float()  # B T
        return {"continue": model.continues.loss(observed.feature, goes_on)}
