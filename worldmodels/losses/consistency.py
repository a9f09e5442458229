"""Representation without a decoder: predicted latents tell the embeddings of future frames."""

from copy import deepcopy

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.checks import check_above, check_at_least
from worldmodels.dynamics.base import flatten_state
from worldmodels.losses.base import LatentModel, LossTerm, Observed, embed_std, precise, standardize
from worldmodels.nn.blocks import MLP, zero_init
from worldmodels.types import Batch


class LatentConsistency(LossTerm):
    """Latents predicted under the recorded actions must tell what the future frames look like.

    From every posterior state s_t of the batch the dynamics predict k = 1 ... ``horizon`` steps; a
    small network q reads the predicted features and answers with an embedding. The loss is the
    mean over all pairs (t, k) within one episode, each weighted by rho^(k-1), of::

        | q(s_{t+k|t}) - standardized(slow encoder(frame_{t+k})) |^2 / E

    The squared error to a fixed encoding, its horizon and its decay are TD-MPC2's. There the latent
    is the encoding itself; here it is a state with a memory, so q translates, and q together with
    a target that follows slowly is what keeps BYOL and SPR from collapse. The target is
    standardized over the batch instead of scaled to unit length: a small thing that moves counts
    as much as the large things that do not, a latent that tells nothing costs 1 as long as frames
    are embedded differently at all (``embed_std`` above 0), and the loss reads as the fraction of
    the embedding's variance that is not told. The slow encoder costs one more forward pass over
    the frames.

    Args:
        weight: of the weighted mean.
        horizon: steps predicted from each state, K.
        rho: weight of each step relative to the one before.
        hidden: width of q.
        tau: share by which the slow encoder approaches the encoder at each update; with 1 it is
            the encoder.

    Raises:
        ValueError: when a number is out of its range.

    Reference: Hansen et al., 2024 (TD-MPC2), for the error, ``rho`` and the weight; Grill et al.,
    2020 (BYOL), for the predictor and the slow target; Schwarzer et al., 2021 (SPR), for both over
    several predicted steps.
    """

    predictor: MLP
    slow_encoder: nn.Module

    def __init__(
        self,
        weight: float = 20.0,
        horizon: int = 3,
        rho: float = 0.5,
        hidden: int = 256,
        tau: float = 0.01,
    ):
        super().__init__()
        check_at_least("LatentConsistency", 0, weight=weight)
        check_at_least("LatentConsistency", 1, horizon=horizon, hidden=hidden)
        for name, share in {"rho": rho, "tau": tau}.items():
            check_above("LatentConsistency", 0, **{name: share})
            if share > 1:
                raise ValueError(f"LatentConsistency: {name}={share}: choose at most 1")
        self.weights = {"consistency": weight}
        self.horizon, self.rho, self.hidden, self.tau = horizon, rho, hidden, tau

    def setup(self, model: LatentModel) -> None:
        """Makes q and the slow encoder."""
        sizes = model.dynamics.feature_dim, model.encoder.embed_dim
        self.predictor = MLP(*sizes, hidden=self.hidden, layers=1)
        zero_init(self.predictor.output)  # untrained, it answers the mean embedding: loss 1
        self.slow_encoder = deepcopy(model.encoder).requires_grad_(False)
        # In a tuple, so that the model's encoder is no part of this module a second time.
        self._encoder = (model.encoder,)

    def forward(
        self, model: LatentModel, batch: Batch, observed: Observed
    ) -> dict[str, Float[Tensor, "B T"]]:
        """``consistency`` by start state, and the metric ``embed_std``."""
        with torch.no_grad():
            embed = precise(self.slow_encoder(model.pixels(batch.obs)))  # B T E
        actions, valid = self.futures(batch.action, batch.is_first)  # B T K A, B T K
        starts = flatten_state(observed.posterior)  # (B T) ...
        states = model.dynamics.predict(starts, rearrange(actions, "B T K A -> (B T) K A"))
        feature = model.feature(states)  # (B T) K F
        with torch.autocast(feature.device.type, enabled=False):
            predicted = self.predictor(precise(feature))  # (B T) K E
            rows = standardize(rearrange(embed, "B T E -> (B T) E"))
            target = windows(rows.reshape(embed.shape), self.horizon)  # B T K E
            error = (predicted.reshape(target.shape) - target).square()  # B T K E
            error = reduce(error, "B T K E -> B T K", "mean")
        return {
            "consistency": self.weighted(error, valid),
            "embed_std": embed_std(observed.embed).expand_as(batch.reward),
        }

    def futures(
        self, action: Float[Tensor, "B T A"], is_first: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T K A"], Bool[Tensor, "B T K"]]:
        """The K actions after each step, and which of them led on within the episode and batch."""
        actions = windows(action, self.horizon)  # B T K A
        # Zeros beyond the end of the batch: nothing is known of what comes there.
        goes_on = windows((~is_first[..., None]).int(), self.horizon)[..., 0]  # B T K
        return actions, goes_on.cumprod(-1).bool()

    def weighted(
        self, error: Float[Tensor, "B T K"], valid: Bool[Tensor, "B T K"]
    ) -> Float[Tensor, "B T"]:
        """Shares of each start in the mean of valid errors, whose steps weigh 1, rho, rho^2, ..."""
        decay = self.rho ** torch.arange(self.horizon, device=error.device)  # K
        weight = decay * valid  # B T K
        # The mean over B T of this is the weighted mean over all valid pairs.
        scale = weight[..., 0].numel() / weight.sum().clamp(min=1e-8)
        return scale * (weight * error).sum(-1)

    @torch.no_grad()
    def update_target(self) -> None:
        """The slow encoder follows the encoder."""
        fast = self._encoder[0]
        for slow, parameter in zip(self.slow_encoder.parameters(), fast.parameters(), strict=True):
            slow.lerp_(parameter, self.tau)
        for slow, buffer in zip(self.slow_encoder.buffers(), fast.buffers(), strict=True):
            slow.copy_(buffer)


def windows(x: Shaped[Tensor, "B T X"], count: int) -> Shaped[Tensor, "B T K X"]:
    """The ``count`` entries after each step; zeros beyond the end."""
    padded = F.pad(x, (0, 0, 0, count))  # B T+K X
    return rearrange(padded[:, 1:].unfold(1, count, 1), "B T X K -> B T K X")
