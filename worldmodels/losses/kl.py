"""The KL between what the model predicts and what it infers from the frame."""

from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_at_least
from worldmodels.dynamics.base import detach_state
from worldmodels.losses.base import LatentModel, LossTerm, Observed
from worldmodels.types import Batch


class BalancedKL(LossTerm):
    """KL from prior to posterior with one weight for each side's share of the gradient.

    A ``kl`` near 0 says that the posterior has collapsed to the prior: frames add nothing.

    Args:
        dynamics: weight of the KL that trains the prior towards the posterior.
        representation: weight of the KL that trains the posterior towards the prior.
        free_nats: KL below this many nats per time step is not penalised.

    Raises:
        ValueError: when a number is negative.

    Reference: Hafner et al., 2021 (DreamerV2), algorithm 2; 2023 (DreamerV3), equation 5.
    """

    def __init__(self, dynamics: float = 0.8, representation: float = 0.2, free_nats: float = 1.0):
        super().__init__()
        numbers = {"dynamics": dynamics, "representation": representation, "free_nats": free_nats}
        check_at_least("BalancedKL", 0, **numbers)
        self.weights = {"dynamics": dynamics, "representation": representation}
        self.free_nats = free_nats

    def forward(
        self, model: LatentModel, batch: Batch, observed: Observed
    ) -> dict[str, Float[Tensor, "B T"]]:
        """``dynamics`` and ``representation``, and the metric ``kl``, which knows no free nats."""
        posterior, prior = observed.posterior, observed.prior
        # The same value twice, each time with one side held fixed.
        dynamics = model.dynamics.kl(detach_state(posterior), prior)  # B T
        representation = model.dynamics.kl(posterior, detach_state(prior))  # B T
        return {
            "dynamics": dynamics.clamp(min=self.free_nats),
            "representation": representation.clamp(min=self.free_nats),
            "kl": dynamics.detach(),
        }
