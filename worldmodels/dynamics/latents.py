"""The two stochastic latents of the RSSM: a diagonal Gaussian and a stack of categoricals."""

from abc import ABC, abstractmethod

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from worldmodels.nn.distributions import DiagonalGaussian, inverse_cdf, straight_through
from worldmodels.nn.precision import precise


class Latent(ABC):
    """A distribution over a flat vector, described by flat parameters.

    Attributes:
        dim: S, size of a flat sample.
        raw_dim: R, size of the network output that ``params`` turns into parameters.
    """

    dim: int
    raw_dim: int

    @abstractmethod
    def params(self, raw: Float[Tensor, "*batch R"]) -> Float[Tensor, "*batch P"]:
        """Network output to distribution parameters."""

    @abstractmethod
    def noise(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """The randomness of ``shape`` samples, so that a loop can draw it all at once."""

    @abstractmethod
    def sample(self, params: Float[Tensor, "*batch P"], noise: Tensor) -> Float[Tensor, "*batch S"]:
        """A differentiable sample (reparameterised, or straight-through)."""

    @abstractmethod
    def mean(self, params: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch S"]:
        """The expected sample."""

    @abstractmethod
    def kl(
        self, posterior: Float[Tensor, "*batch P"], prior: Float[Tensor, "*batch P"]
    ) -> Float[Tensor, "*batch"]:
        """KL(posterior || prior) in nats."""


class GaussianLatent(Latent):
    """A diagonal Gaussian; parameters are mean and standard deviation, joined.

    Reference: Hafner et al., 2019 (PlaNet), section 3.
    """

    def __init__(self, dim: int, min_std: float):
        self.dim = dim
        self.raw_dim = 2 * dim
        self.min_std = min_std

    def params(self, raw: Float[Tensor, "*batch R"]) -> Float[Tensor, "*batch P"]:
        """Mean as it is, standard deviation through a softplus above ``min_std``."""
        mean, std = raw.chunk(2, -1)  # *batch S each
        # On a view, or in bfloat16, softplus runs number by number: ten times as slow.
        std = F.softplus(precise(std).contiguous()) + self.min_std
        return torch.cat([precise(mean), std], -1)  # *batch 2S

    def noise(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Standard normal noise."""
        return torch.randn(*shape, self.dim, dtype=like.dtype, device=like.device)

    def sample(self, params: Float[Tensor, "*batch P"], noise: Tensor) -> Float[Tensor, "*batch S"]:
        """Mean plus scaled noise."""
        mean, std = params.chunk(2, -1)  # *batch S each
        return torch.addcmul(mean, std, noise)

    def mean(self, params: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch S"]:
        """The mean, which the parameters name."""
        return params.chunk(2, -1)[0]

    def kl(
        self, posterior: Float[Tensor, "*batch P"], prior: Float[Tensor, "*batch P"]
    ) -> Float[Tensor, "*batch"]:
        """Closed form for diagonal Gaussians."""
        return DiagonalGaussian(*posterior.chunk(2, -1)).kl(DiagonalGaussian(*prior.chunk(2, -1)))


class CategoricalLatent(Latent):
    """A stack of S categoricals with K classes, one-hot samples with straight-through gradients.

    ``unimix`` mixes that share of a uniform distribution into every categorical, so that no class
    dies. Parameters are log-probabilities, flattened.

    Reference: Hafner et al., 2021 (DreamerV2), section 2; 2023 (DreamerV3) for unimix.
    """

    def __init__(self, stack: int, classes: int, unimix: float):
        self.stack, self.classes, self.unimix = stack, classes, unimix
        self.dim = self.raw_dim = stack * classes

    def params(self, raw: Float[Tensor, "*batch R"]) -> Float[Tensor, "*batch P"]:
        """Log-probabilities after mixing in the uniform distribution."""
        # In bfloat16 the probabilities would not sum to 1.
        probs = self._split(precise(raw)).softmax(-1)  # *batch S K
        probs = (1 - self.unimix) * probs + self.unimix / self.classes
        return self._join(probs.log())

    def noise(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """One uniform number per categorical."""
        return torch.rand(*shape, self.stack, dtype=like.dtype, device=like.device)

    def sample(self, params: Float[Tensor, "*batch P"], noise: Tensor) -> Float[Tensor, "*batch S"]:
        """Inverse-CDF draw (40 times faster than a multinomial), gradients of the probabilities."""
        probs = self._split(params).exp()  # *batch S K
        return self._join(straight_through(probs, inverse_cdf(probs, noise)))  # *batch (S K)

    def mean(self, params: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch S"]:
        """The class probabilities."""
        return params.exp()

    def kl(
        self, posterior: Float[Tensor, "*batch P"], prior: Float[Tensor, "*batch P"]
    ) -> Float[Tensor, "*batch"]:
        """Summed over the stack."""
        return reduce(posterior.exp() * (posterior - prior), "... P -> ...", "sum")

    def _split(self, flat: Tensor) -> Tensor:
        return rearrange(flat, "... (S K) -> ... S K", K=self.classes)

    def _join(self, stacked: Tensor) -> Tensor:
        return rearrange(stacked, "... S K -> ... (S K)")
