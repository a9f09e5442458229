"""The dynamics contract, the time loops (written once, here), and helpers for latent states."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodels.types import State


def map_state(function: Callable[..., Tensor], *states: State) -> State:
    """Applies ``function`` to the matching tensors of ``states``."""
    return type(states[0])(*(function(*fields) for fields in zip(*states, strict=True)))


def stack_states(states: Sequence[State], dim: int) -> State:
    """Stacks states along a new axis ``dim``."""
    return map_state(lambda *fields: torch.stack(fields, dim), *states)


def select_state(state: State, index: Any) -> State:
    """Indexes every tensor of ``state`` alike, as in ``tensor[index]``."""
    return map_state(lambda field: field[index], state)


def flatten_state(state: State) -> State:
    """Joins the two leading axes, ``B T ... -> (B T) ...``."""
    return map_state(lambda field: rearrange(field, "B T ... -> (B T) ..."), state)


def repeat_state(state: State, count: int) -> State:
    """Repeats every row ``count`` times in place, ``B ... -> (B N) ...``."""
    return map_state(lambda field: repeat(field, "B ... -> (B N) ...", N=count), state)


def detach_state(state: State) -> State:
    """The same state without its history of gradients."""
    return map_state(torch.detach, state)


def where_state(condition: Bool[Tensor, " B"], chosen: State, other: State) -> State:
    """Rows of ``chosen`` where ``condition`` holds, rows of ``other`` elsewhere."""

    def blend(left: Tensor, right: Tensor) -> Tensor:
        return torch.where(condition.reshape(-1, *[1] * (left.ndim - 1)), left, right)

    return map_state(blend, chosen, other)


def same_noise(chunks: Sequence[Tensor]) -> Iterator[Tensor]:
    """Hands out chunks, each with the same state of torch's global generator.

    Chunks of candidates so meet the same noise, as they do in one piece.
    """
    device = chunks[0].device
    devices = [] if device.type == "cpu" else [device]
    for chunk in chunks[:-1]:
        with torch.random.fork_rng(devices, device_type=device.type):
            yield chunk
    yield chunks[-1]


class Dynamics(nn.Module, ABC):
    """How a latent state moves under an action, and how a frame corrects it.

    Subclasses take ``(embed_dim, action_dim)`` as their first two arguments, everything else has a
    default. A state is a NamedTuple of tensors with shared leading axes.

    Attributes:
        feature_dim: F, the size of ``feature(state)``.
        particles: how often a plan is imagined to be scored; its returns are aggregated.
    """

    feature_dim: int
    particles: int = 1

    @abstractmethod
    def initial(self, batch: int) -> State:
        """The state before any frame, for ``batch`` rows."""

    @abstractmethod
    def prior(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Predicts one step without a frame (a sample)."""

    @abstractmethod
    def posterior(self, prior: State, embed: Float[Tensor, "B E"]) -> State:
        """Corrects a predicted state by the embedding of the frame that arrived (a sample)."""

    @abstractmethod
    def kl(self, posterior: State, prior: State) -> Float[Tensor, "*batch"]:
        """KL divergence from prior to posterior in nats, summed over the latent."""

    @abstractmethod
    def feature(self, state: State) -> Float[Tensor, "*batch F"]:
        """What heads, decoders, policies and values read."""

    def plan_starts(self, state: State, plans: int) -> State:
        """Start states of ``plans`` plans per row, ``particles`` each: ``B ... -> (B N P) ...``."""
        return repeat_state(state, plans * self.particles)

    def disagreement(self, state: State, action: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """How much the members of an ensemble differ about the next step.

        Raises:
            TypeError: when there is one model only.
        """
        raise TypeError(
            f"{type(self).__name__} has one opinion and cannot disagree: "
            "train with --model.dynamics worldmodels.dynamics.EnsembleRSSM"
        )

    def step(
        self, state: State, action: Float[Tensor, "B A"], is_first: Bool[Tensor, " B"]
    ) -> State:
        """``prior`` with the reset rule: where ``is_first``, state and action are forgotten."""
        fresh = self.initial(len(action))
        state = where_state(is_first, fresh, state)
        action = action * (~is_first)[:, None]
        return self.prior(state, action)

    def observe(
        self,
        embed: Float[Tensor, "B T E"],
        action: Float[Tensor, "B T A"],
        is_first: Bool[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[State, State]:
        """Filters a sequence of embedded frames.

        Args:
            embed: embeddings of the frames.
            action: the actions that led to them.
            is_first: where an episode begins; state and action are forgotten there.
            state: continues an earlier sequence; the initial state when None.

        Returns:
            The posterior states (corrected by each frame) and the prior states (predicted before
            it), leading axes B T.
        """
        state = self.initial(len(embed)) if state is None else state
        posteriors, priors = [], []
        for t in range(embed.shape[1]):
            prior = self.step(state, action[:, t], is_first[:, t])  # B ...
            state = self.posterior(prior, embed[:, t])  # B ...
            priors.append(prior)
            posteriors.append(state)
        return stack_states(posteriors, 1), stack_states(priors, 1)  # B T ...

    def predict_steps(
        self, state: State, actions: Float[Tensor, "N H A"], plans: int = 1
    ) -> Iterator[State]:
        """Predicts H steps under given actions, one after the other; each state has rows N.

        Args:
            state: rows N, laid out as by ``plan_starts`` where there are several plans.
            actions: one plan per row.
            plans: plans per start. They meet the same noise (common random numbers), so that the
                better plan wins and not the luckier one. This plain loop leaves noise to
                ``prior``; dynamics that draw any override it (``check dynamics`` tests it).
        """
        for action in actions.unbind(1):  # N A
            state = self.prior(state, action)
            yield state

    def predict(self, state: State, actions: Float[Tensor, "N H A"], plans: int = 1) -> State:
        """All states of ``predict_steps``; their leading axes are N H."""
        return stack_states(list(self.predict_steps(state, actions, plans)), 1)

    def shared(self, noise: Tensor, plans: int) -> Tensor:
        """Noise that the ``plans`` of each start share: ``... (B P) S -> ... (B N P) S``."""
        if plans == 1:
            return noise
        return repeat(noise, "... (B P) S -> ... (B N P) S", N=plans, P=self.particles)
