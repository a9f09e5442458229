"""Distributions as small plain classes: what heads, policies and latents return.

Each has ``sample()`` (differentiable where it can be), ``mode()``, ``log_prob(value)`` and
``entropy()``; densities are summed over the event (the last axis and, for a stack of categoricals,
the stack). ``torch.distributions`` is kept off these hot paths: it validates, expands and samples
slowly, and serves the tests as the reference instead.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from worldmodels.nn.precision import precise

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def symlog(x: Tensor) -> Tensor:
    """``sign(x) ln(1 + |x|)``: near 0 the identity, far out a logarithm.

    Reference: Hafner et al., 2023 (DreamerV3), equation 9.
    """
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """The inverse of ``symlog``."""
    return x.sign() * x.abs().expm1()


def symexp_bins(count: int, limit: float) -> Float[Tensor, " K"]:
    """``count`` values, exactly symmetric around 0, evenly spaced in symlog up to ``limit``.

    Args:
        count: odd, so that 0 is one of them.
        limit: the largest one's symlog (20 reaches 485 million).

    Raises:
        ValueError: if ``count`` is even or under 3.
    """
    if count < 3 or count % 2 == 0:
        raise ValueError(f"bins={count}: two-hot needs an odd number of at least 3, such as 41")
    half = symexp(torch.linspace(0, limit, count // 2 + 1, dtype=torch.float64)).float()
    return torch.cat([-half.flip(0), half[1:]])


class TwoHot:
    """A number as a categorical over bins; a target is split between its two neighbours.

    The mean of a two-hot target is the target itself. Targets beyond the outer bins are clipped.

    Args:
        logits: unnormalised log-probabilities of the bins.
        bins: increasing values, symmetric around 0.

    Reference: Hafner et al., 2023 (DreamerV3), equation 10 and the section on the critic.
    """

    def __init__(self, logits: Float[Tensor, "*batch K"], bins: Float[Tensor, " K"]):
        self.log_probs = logits.float().log_softmax(-1)
        self.bins = bins

    def mean(self) -> Float[Tensor, "*batch"]:
        """The expected value; exactly 0 for symmetric probabilities.

        The outer bins are so large that rounding would swamp the sum, so each bin is added to its
        mirror image first.
        """
        weighted = self.log_probs.exp() * self.bins
        return 0.5 * (weighted + weighted.flip(-1)).sum(-1)

    def mode(self) -> Float[Tensor, "*batch"]:
        """The value of the most likely bin."""
        return self.bins[self.log_probs.argmax(-1)]

    def sample(self) -> Float[Tensor, "*batch"]:
        """A bin's value, without gradients."""
        return self.bins[_drawn(self.log_probs.exp())]

    def log_prob(self, value: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Minus the cross-entropy against the two-hot target of ``value``."""
        lower, share = self._locate(value)
        below = self.log_probs.gather(-1, lower[..., None])[..., 0]
        above = self.log_probs.gather(-1, lower[..., None] + 1)[..., 0]
        return torch.lerp(below, above, share)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy over the bins."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def encode(self, value: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch K"]:
        """The two-hot target of ``value``."""
        lower, share = self._locate(value)
        target = self.bins.new_zeros(*value.shape, len(self.bins))
        target.scatter_(-1, lower[..., None], 1 - share[..., None])
        return target.scatter_(-1, lower[..., None] + 1, share[..., None])

    def _locate(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the bin below, and the share of the bin above."""
        value = value.to(self.bins.dtype).clamp(self.bins[0], self.bins[-1])
        lower = (torch.bucketize(value, self.bins, right=True) - 1).clamp(0, len(self.bins) - 2)
        floor, ceiling = self.bins[lower], self.bins[lower + 1]
        return lower, (value - floor) / (ceiling - floor)


class OneHotStraightThrough:
    """One-hot categoricals whose samples carry the gradient of their probabilities.

    Args:
        logits: unnormalised log-probabilities; the last axis holds the classes.
        unimix: share of a uniform distribution mixed in, so that no class dies.
        stack_axes: axes before the classes that belong to the event: 0 for an action, 1 for a
            stack of categoricals ``S K``. Densities are summed over them.

    Reference: Hafner et al., 2021 (DreamerV2), algorithm 1; 2023 (DreamerV3) for unimix.
    """

    def __init__(self, logits: Float[Tensor, "*batch K"], unimix: float = 0.0, stack_axes: int = 0):
        self.stack_axes = stack_axes
        if unimix:
            self.probs = (1 - unimix) * logits.softmax(-1) + unimix / logits.shape[-1]
            self.log_probs = self.probs.log()
        else:
            self.log_probs = logits.log_softmax(-1)
            self.probs = self.log_probs.exp()

    def sample(self) -> Float[Tensor, "*batch K"]:
        """An exact one-hot with straight-through gradients."""
        return straight_through(self.probs, _drawn(self.probs))

    def mode(self) -> Float[Tensor, "*batch K"]:
        """The most likely one-hot with straight-through gradients."""
        return straight_through(self.probs, self.probs.argmax(-1))

    def log_prob(self, value: Float[Tensor, "*batch K"]) -> Float[Tensor, "*event"]:
        """Log-probability of one-hots, summed over the stack."""
        return self._sum_event(value * self.log_probs)

    def entropy(self) -> Float[Tensor, "*event"]:
        """Entropy in nats, summed over the stack."""
        return -self._sum_event(self.probs * self.log_probs)

    def kl(self, other: "OneHotStraightThrough") -> Float[Tensor, "*event"]:
        """KL(self || other) in nats, summed over the stack."""
        return self._sum_event(self.probs * (self.log_probs - other.log_probs))

    def _sum_event(self, terms: Tensor) -> Tensor:
        return terms.sum(tuple(range(-1 - self.stack_axes, 0)))


class DiagonalGaussian:
    """Independent normals over the last axis."""

    def __init__(self, mean: Float[Tensor, "*batch D"], std: Float[Tensor, "*batch D"]):
        self.mean, self.std = mean, std

    def sample(self) -> Float[Tensor, "*batch D"]:
        """A reparameterised sample."""
        return torch.addcmul(self.mean, self.std, torch.randn_like(self.mean))

    def mode(self) -> Float[Tensor, "*batch D"]:
        """The mean."""
        return self.mean

    def log_prob(self, value: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """Log-density, summed over the last axis."""
        distance = ((value - self.mean) / self.std).square()
        return -(0.5 * distance + self.std.log() + _HALF_LOG_TWO_PI).sum(-1)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy in nats, summed over the last axis."""
        return (self.std.log() + 0.5 + _HALF_LOG_TWO_PI).sum(-1)

    def kl(self, other: "DiagonalGaussian") -> Float[Tensor, "*batch"]:
        """KL(self || other) in nats, summed over the last axis."""
        ratio = (self.std / other.std).square()
        distance = ((self.mean - other.mean) / other.std).square()
        return 0.5 * (ratio + distance - 1 - ratio.log()).sum(-1)


class TanhNormal:
    """A normal squashed into (-1, 1) by a tanh: the continuous policy."""

    def __init__(self, mean: Float[Tensor, "*batch A"], std: Float[Tensor, "*batch A"]):
        self.normal = DiagonalGaussian(mean, std)

    @classmethod
    def from_raw(
        cls, raw: Float[Tensor, "*batch A2"], min_std: float = 0.1, mean_bound: float = 5.0
    ) -> "TanhNormal":
        """From a network output (mean and std joined), kept out of the tanh's flat ends.

        The mean is bounded smoothly by ``mean_bound``, the std is a softplus above ``min_std``.

        Reference: Hafner et al., 2020 (Dreamer), released code.
        """
        mean, std = raw.chunk(2, -1)
        return cls(mean_bound * torch.tanh(mean / mean_bound), F.softplus(std) + min_std)

    def sample(self) -> Float[Tensor, "*batch A"]:
        """A reparameterised sample."""
        return torch.tanh(self.normal.sample())

    def mode(self) -> Float[Tensor, "*batch A"]:
        """The squashed mean: the median, which a planner or an evaluation should act on."""
        return torch.tanh(self.normal.mean)

    def log_prob(self, value: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Log-density of actions; those rounded onto the border are moved just inside it."""
        border = 1 - torch.finfo(value.dtype).eps
        raw = torch.atanh(value.clamp(-border, border))
        return self.normal.log_prob(raw) - _log_tanh_slope(raw).sum(-1)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """An unbiased one-sample estimate with gradients: it has no closed form.

        The normal's entropy is exact, only the mean log-slope of the tanh is sampled.
        """
        return self.normal.entropy() + _log_tanh_slope(self.normal.sample()).sum(-1)


class Bernoulli:
    """A coin per element; for the probability that an episode goes on.

    Args:
        logits: of 1; lifted to float32 at least, because bfloat16 has no probability between 0.996
            and 1.
    """

    def __init__(self, logits: Float[Tensor, "*batch"]):
        self.logits = precise(logits)

    def mean(self) -> Float[Tensor, "*batch"]:
        """The probability of 1."""
        return self.logits.sigmoid()

    def sample(self) -> Float[Tensor, "*batch"]:
        """0 or 1, without gradients."""
        return (torch.rand_like(self.logits) < self.mean()).to(self.logits.dtype)

    def mode(self) -> Float[Tensor, "*batch"]:
        """1 where that is the likelier value."""
        return (self.logits > 0).to(self.logits.dtype)

    def log_prob(self, value: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Log-probability; targets between 0 and 1 give minus the cross-entropy."""
        return -F.binary_cross_entropy_with_logits(self.logits, value, reduction="none")

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy in nats."""
        return F.softplus(self.logits) - self.logits * self.mean()


def inverse_cdf(
    probs: Float[Tensor, "*batch K"], uniform: Float[Tensor, "*batch"]
) -> Int[Tensor, "*batch"]:
    """Class indices from uniform numbers: far faster than a multinomial, which sorts every row."""
    # Rounding can leave the last cumulative sum under 1: never count it.
    below = probs.detach().cumsum(-1)[..., :-1] <= uniform[..., None]
    return below.sum(-1)


def straight_through(
    probs: Float[Tensor, "*batch K"], index: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch K"]:
    """One-hots that carry the gradient of their probabilities."""
    onehot = F.one_hot(index, probs.shape[-1]).to(probs.dtype)
    # The bracket is exactly 0 going forward and the probabilities' gradient going back.
    return onehot + (probs - probs.detach())


def _drawn(probs: Tensor) -> Tensor:
    return inverse_cdf(probs, torch.rand(probs.shape[:-1], dtype=probs.dtype, device=probs.device))


def _log_tanh_slope(raw: Tensor) -> Tensor:
    """``log(1 - tanh(raw)^2)`` without forming the difference, which is 0 in floats beyond 9."""
    return 2 * (math.log(2) - raw - F.softplus(-2 * raw))
