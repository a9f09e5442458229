"""Search distributions over plans: one interface for real-valued and for discrete actions."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from worldmodels.types import ActionSpace


class SearchParams(NamedTuple):
    """A distribution over plans, independent between environments, steps and action dimensions.

    ``params`` is the mean (real numbers) or the class probabilities (choices); ``std`` is the
    standard deviation of real numbers, and 0 for choices, whose probabilities are their spread.
    """

    params: Float[Tensor, "B H A"]
    std: Float[Tensor, "B H A"]


class SearchDistribution(ABC):
    """What a planner needs to know about an action space.

    A ``std`` is the standard deviation of real-valued actions. For choices it stands for the
    share ``std / (1 + std)`` of the probability that is spread evenly over all of them: 0 spreads
    nothing, 1 half of it, infinity all of it.
    """

    def __init__(self, dim: int):
        self.dim = dim

    @abstractmethod
    def initial(self, batch: int, horizon: int) -> Float[Tensor, "B H A"]:
        """The parameters that prefer nothing."""

    @abstractmethod
    def around(self, params: Float[Tensor, "B H A"], std: float) -> SearchParams:
        """A search around a warm start."""

    @abstractmethod
    def sample(
        self, search: SearchParams, noise: Float[Tensor, "N H A"]
    ) -> Float[Tensor, "B N H A"]:
        """Plans made of standard normal ``noise``, the same for every environment."""

    @abstractmethod
    def uniform(self, noise: Float[Tensor, "N H A"]) -> Float[Tensor, "N H A"]:
        """Plans distributed evenly over the action space, made of standard normal ``noise``."""

    @abstractmethod
    def refit(
        self, old: SearchParams, elites: Float[Tensor, "B N H A"], momentum: float, min_std: float
    ) -> SearchParams:
        """The search whose moments are those of ``elites``, mixed with ``momentum`` of ``old``."""

    @abstractmethod
    def mode(self, params: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """The plan to execute: inside the bounds, or one-hot."""

    @abstractmethod
    def relax(self, variables: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """Differentiable plans from the free variables of a gradient search.

        The variables of a plan to start from are the plan itself.
        """

    @abstractmethod
    def project(self, variables: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """The allowed variables closest to ``variables``."""


class GaussianSearch(SearchDistribution):
    """Independent normal distributions, clipped to [-1, 1]."""

    def initial(self, batch: int, horizon: int) -> Float[Tensor, "B H A"]:
        """Zeros."""
        return torch.zeros(batch, horizon, self.dim)

    def around(self, params: Float[Tensor, "B H A"], std: float) -> SearchParams:
        """The same standard deviation everywhere."""
        return SearchParams(params, torch.full_like(params, std))

    def sample(
        self, search: SearchParams, noise: Float[Tensor, "N H A"]
    ) -> Float[Tensor, "B N H A"]:
        """Mean plus scaled noise, clipped."""
        return torch.addcmul(search.params[:, None], search.std[:, None], noise).clamp_(-1, 1)

    def uniform(self, noise: Float[Tensor, "N H A"]) -> Float[Tensor, "N H A"]:
        """The normal distribution function maps the noise to [-1, 1]."""
        return torch.erf(noise * math.sqrt(0.5))

    def refit(
        self, old: SearchParams, elites: Float[Tensor, "B N H A"], momentum: float, min_std: float
    ) -> SearchParams:
        """Mean and (population) standard deviation of the elites."""
        std, mean = torch.std_mean(elites, 1, correction=0)  # B H A each
        return SearchParams(
            torch.lerp(mean, old.params, momentum),
            torch.lerp(std, old.std, momentum).clamp_(min=min_std),
        )

    def mode(self, params: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """The mean, clipped."""
        return params.clamp(-1, 1)

    def relax(self, variables: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """The variables are the actions."""
        return variables

    def project(self, variables: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """Clips to the bounds."""
        return variables.clamp(-1, 1)


class CategoricalSearch(SearchDistribution):
    """Independent choices; plans are one-hot.

    Sampling is an exponential race driven by normal noise: choice a wins where -log(u_a) / p_a is
    least, with u the normal distribution function of the noise. Each step is distributed exactly
    as its probabilities say, and noise that persists in time makes choices persist.
    """

    def initial(self, batch: int, horizon: int) -> Float[Tensor, "B H A"]:
        """Uniform probabilities."""
        return torch.full((batch, horizon, self.dim), 1 / self.dim)

    def around(self, params: Float[Tensor, "B H A"], std: float) -> SearchParams:
        """Spreads some of the probability evenly."""
        return SearchParams(self._smooth(params, std), torch.zeros_like(params))

    def sample(
        self, search: SearchParams, noise: Float[Tensor, "N H A"]
    ) -> Float[Tensor, "B N H A"]:
        """One-hot samples of the probabilities."""
        return _one_hot(_arrival(noise) / search.params[:, None])

    def uniform(self, noise: Float[Tensor, "N H A"]) -> Float[Tensor, "N H A"]:
        """Every choice equally likely."""
        return _one_hot(_arrival(noise))

    def refit(
        self, old: SearchParams, elites: Float[Tensor, "B N H A"], momentum: float, min_std: float
    ) -> SearchParams:
        """The elites' frequencies."""
        params = torch.lerp(elites.mean(1), old.params, momentum)  # B H A
        return SearchParams(self._smooth(params, min_std), old.std)

    def mode(self, params: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """The most likely choice of every step."""
        return _one_hot(-params)

    def relax(self, variables: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """The best choice forwards, the softmax's gradient backwards (straight-through).

        Reference: Bengio, Léonard and Courville, 2013; Jang, Gu and Poole, 2017, section 2.2.
        """
        soft = functional.softmax(variables, -1)
        # In this order the forward value is exactly one-hot: soft - soft is exactly 0.
        return _one_hot(-variables.detach()) + (soft - soft.detach())

    def project(self, variables: Float[Tensor, "*batch H A"]) -> Float[Tensor, "*batch H A"]:
        """Logits are free."""
        return variables

    def _smooth(self, params: Tensor, std: float) -> Tensor:
        share = std / (1 + std)
        return (1 - share) * params + share / self.dim


def search_distribution(action_space: ActionSpace) -> SearchDistribution:
    """The search distribution that fits an action space."""
    chosen = CategoricalSearch if action_space.discrete else GaussianSearch
    return chosen(action_space.dim)


def _arrival(noise: Tensor) -> Tensor:
    """Exponential arrival times from standard normal noise: -log of its distribution function."""
    times = -(0.5 * torch.erfc(noise * -math.sqrt(0.5))).log()
    # Above 0 even where the noise is extreme, so that an impossible choice (time / 0) never wins.
    return times.clamp_(min=torch.finfo(times.dtype).tiny)


def _one_hot(times: Tensor) -> Tensor:
    """Marks the earliest arrival."""
    first = times.argmin(-1, keepdim=True)  # ... 1
    return torch.zeros_like(times).scatter_(-1, first, 1.0)
