"""The recurrent state-space model, with Gaussian or categorical latents.

One step, index t (arrival: action_t led to frame_t)::

    deter_{t-1}, stoch_{t-1}, action_t --> deter_t --> prior(stoch_t)
                                              |
                          embed_t ------------+-----> posterior(stoch_t)

Only ``deter -> posterior sample -> next deter`` is sequential; everything else (projections of
actions and embeddings, prior parameters) is computed for all time steps at once.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.dynamics.base import Dynamics, stack_states, where_state
from worldmodels.dynamics.latents import CategoricalLatent, GaussianLatent, Latent
from worldmodels.nn.blocks import MLP, LayerNorm, NormGRUCell, initialise, rounded
from worldmodels.types import State


class RSSMState(NamedTuple):
    """Deterministic memory, a sample of the stochastic latent, and that latent's parameters."""

    deter: Float[Tensor, "*batch D"]
    stoch: Float[Tensor, "*batch S"]
    params: Float[Tensor, "*batch P"]


class RecurrentStateSpace(Dynamics):
    """What all RSSMs share: a memory, a prior and a posterior of a stochastic latent, the loops.

    Subclasses build the layers and define ``_advance``. ``observe`` and ``predict`` run in float32
    whatever the mixed precision around them: at the sizes of training the casts cost more than the
    arithmetic saves. ``predict_steps`` follows it.

    Attributes:
        latent: the stochastic latent.
        deter_dim: D, size of the memory.
        action_in: what of the transition depends on the action alone.
        prior_net: memory to the prior's network output.
        deter_in: the memory's share of the posterior's hidden layer.
        embed_in: the embedding's share of it.
        posterior_norm: norm of that layer.
        posterior_out: hidden layer to the posterior's network output.
    """

    latent: Latent
    deter_dim: int
    action_in: Any
    prior_net: nn.Module
    deter_in: nn.Linear
    embed_in: nn.Linear
    posterior_norm: nn.Module
    posterior_out: nn.Linear

    def initial(self, batch: int) -> RSSMState:
        """Zero memory, zero sample."""
        like = self.deter_in.weight
        raw = like.new_zeros(batch, self.latent.raw_dim)
        return RSSMState(
            like.new_zeros(batch, self.deter_dim),
            like.new_zeros(batch, self.latent.dim),
            self.latent.params(raw),
        )

    def prior(self, state: RSSMState, action: Float[Tensor, "B A"]) -> RSSMState:
        """One step of memory, then a sample of the prior."""
        return self._sampled(*self(state.deter, state.stoch, action))

    def forward(
        self, deter: Float[Tensor, "B D"], stoch: Float[Tensor, "B S"], action: Float[Tensor, "B A"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B P"]]:
        """The transition: the next memory and the parameters of its prior."""
        deter = self._advance(deter, stoch, self.action_in(action))
        return deter, self.latent.params(self.prior_net(deter))

    def posterior(self, prior: State, embed: Float[Tensor, "B E"]) -> RSSMState:
        """The same memory with a latent that has seen the frame."""
        params = self._posterior_params(prior.deter, self.embed_in(embed))
        return self._sampled(prior.deter, params)

    def kl(self, posterior: State, prior: State) -> Float[Tensor, "*batch"]:
        """KL of the latents, in nats."""
        return self.latent.kl(posterior.params, prior.params)

    def feature(self, state: State) -> Float[Tensor, "*batch F"]:
        """Memory and sample, joined."""
        return torch.cat([state.deter, state.stoch], -1)  # *batch F

    def observe(
        self,
        embed: Float[Tensor, "B T E"],
        action: Float[Tensor, "B T A"],
        is_first: Bool[Tensor, "B T"],
        state: RSSMState | None = None,
    ) -> tuple[RSSMState, RSSMState]:
        """The base loop with all that is not sequential taken out of it."""
        with torch.autocast(embed.device.type, enabled=False):
            batch, steps = is_first.shape
            fresh = self.initial(batch)
            previous = fresh if state is None else state
            embeds = self.embed_in(embed.to(fresh.deter.dtype)).unbind(1)  # T times B X
            actions = self.action_in(action * (~is_first)[..., None]).unbind(1)  # T times B X
            noise = self.latent.noise((steps, batch), fresh.stoch)  # T B S
            # Batches without a reset inside are common: skip the blend there.
            resets = is_first.any(0).tolist()
            posteriors = []
            for t in range(steps):
                if resets[t]:
                    previous = where_state(is_first[:, t], fresh, previous)
                deter = self._advance(previous.deter, previous.stoch, actions[t])  # B D
                params = self._posterior_params(deter, embeds[t])  # B P
                previous = RSSMState(deter, self.latent.sample(params, noise[t]), params)
                posteriors.append(previous)
            posterior = stack_states(posteriors, 1)  # B T ...
            prior_params = self.latent.params(self.prior_net(posterior.deter))  # B T P
            return posterior, self._sampled(posterior.deter, prior_params)

    def predict(self, state: State, actions: Float[Tensor, "N H A"], plans: int = 1) -> State:
        """The base loop in float32."""
        with torch.autocast(actions.device.type, enabled=False):
            return super().predict(state, actions, plans)

    def predict_steps(
        self, state: RSSMState, actions: Float[Tensor, "N H A"], plans: int = 1
    ) -> Iterator[RSSMState]:
        """The base loop with all its noise drawn at once."""
        count, steps = actions.shape[:2]
        noise = self.shared(self.latent.noise((steps, count // plans), state.stoch), plans)  # H N S
        deter, stoch = state.deter, state.stoch
        for action, drawn in zip(self.action_in(actions).unbind(1), noise, strict=True):
            deter = self._advance(deter, stoch, action)  # N D
            params = self.latent.params(self.prior_net(deter))  # N P
            stoch = self.latent.sample(params, drawn)  # N S
            yield RSSMState(deter, stoch, params)

    @abstractmethod
    def _advance(self, deter: Tensor, stoch: Tensor, projected_action: Tensor) -> Tensor:
        """The next memory, from the last state and ``action_in(action)``."""

    def _posterior_params(self, deter: Tensor, projected_embed: Tensor) -> Tensor:
        hidden = self.posterior_norm(self.deter_in(deter) + projected_embed)
        return self.latent.params(self.posterior_out(F.silu(hidden)))

    def _sampled(self, deter: Tensor, params: Tensor) -> RSSMState:
        noise = self.latent.noise(tuple(deter.shape[:-1]), deter)
        return RSSMState(deter, self.latent.sample(params, noise), params)


class RSSM(RecurrentStateSpace):
    """A GRU memory with a stochastic latent; use a subclass that names the latent.

    Reference: Hafner et al., 2019 (PlaNet), equation 4.
    """

    def __init__(self, embed_dim: int, action_dim: int, latent: Latent, deter: int, hidden: int):
        super().__init__()
        self.latent, self.deter_dim = latent, deter
        self.feature_dim = deter + latent.dim
        self.stoch_in = nn.Linear(latent.dim, hidden)
        self.action_in = nn.Linear(action_dim, hidden, bias=False)
        self.input_norm = LayerNorm(hidden)
        self.cell = NormGRUCell(hidden, deter)
        self.prior_net = MLP(deter, latent.raw_dim, hidden=hidden, layers=1)
        self.deter_in = nn.Linear(deter, hidden)
        self.embed_in = nn.Linear(embed_dim, hidden, bias=False)
        self.posterior_norm = LayerNorm(hidden)
        self.posterior_out = nn.Linear(hidden, latent.raw_dim)
        # The cell and the prior's network have set themselves.
        posterior = (self.deter_in, self.embed_in, self.posterior_out)
        for layer in (self.stoch_in, self.action_in, *posterior):
            initialise(layer)

    def predict_steps(
        self, state: RSSMState, actions: Float[Tensor, "N H A"], plans: int = 1
    ) -> Iterator[RSSMState]:
        """The base loop with joined products and all its noise drawn at once.

        Under autocast, what products read is rounded once, as the states that are handed out;
        the memory itself stays in full precision from step to step.
        """
        count, steps = actions.shape[:2]
        noise = self.shared(self.latent.noise((steps, count // plans), state.stoch), plans)  # H N S
        joined = rounded(torch.cat([self.stoch_in.weight, self.action_in.weight], 1))  # X S+A
        gates = rounded(torch.cat([self.cell.from_input.weight, self.cell.from_hidden.weight], 1))
        deter, seen, stoch = state.deter, rounded(state.deter), rounded(state.stoch)
        for action, drawn in zip(rounded(actions).unbind(1), noise, strict=True):
            moved = F.linear(torch.cat([stoch, action], 1), joined, self.stoch_in.bias)  # N X
            hidden = rounded(F.silu(self.input_norm(moved)))  # N X
            deter = self.cell.move(F.linear(torch.cat([hidden, seen], 1), gates), deter)  # N D
            seen = rounded(deter)
            params = self.latent.params(self.prior_net(seen))  # N P
            stoch = rounded(self.latent.sample(params, drawn))  # N S
            yield RSSMState(seen, stoch, params)

    def _advance(self, deter: Tensor, stoch: Tensor, projected_action: Tensor) -> Tensor:
        hidden = F.silu(self.input_norm(self.stoch_in(stoch) + projected_action))
        return self.cell(self.cell.project(hidden), deter)


class GaussianRSSM(RSSM):
    """RSSM with a diagonal Gaussian latent.

    Args:
        embed_dim: E, size of a frame's embedding.
        action_dim: A.
        stoch: size of the latent.
        deter: size of the memory.
        hidden: width of the hidden layers.
        min_std: floor of the latent's standard deviation.

    Reference: Hafner et al., 2019 (PlaNet), section 3; 2020 (Dreamer).
    """

    def __init__(
        self,
        embed_dim: int,
        action_dim: int,
        stoch: int = 30,
        deter: int = 200,
        hidden: int = 200,
        min_std: float = 0.1,
    ):
        super().__init__(embed_dim, action_dim, GaussianLatent(stoch, min_std), deter, hidden)


class CategoricalRSSM(RSSM):
    """RSSM with a stack of categorical latents.

    Args:
        embed_dim: E, size of a frame's embedding.
        action_dim: A.
        stack: number of categoricals.
        classes: classes of each.
        deter: size of the memory.
        hidden: width of the hidden layers.
        unimix: share of the uniform distribution mixed into every categorical.

    Reference: Hafner et al., 2021 (DreamerV2); 2023 (DreamerV3).
    """

    def __init__(
        self,
        embed_dim: int,
        action_dim: int,
        stack: int = 32,
        classes: int = 32,
        deter: int = 512,
        hidden: int = 512,
        unimix: float = 0.01,
    ):
        latent = CategoricalLatent(stack, classes, unimix)
        super().__init__(embed_dim, action_dim, latent, deter, hidden)
