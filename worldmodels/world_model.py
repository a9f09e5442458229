"""The hub: one latent simulator that observes, predicts, imagines, scores plans and decodes."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from worldmodels.checks import check_at_least
from worldmodels.dynamics.base import Dynamics, same_noise, select_state, stack_states
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.dynamics.rssm import GaussianRSSM
from worldmodels.losses import (
    BalancedKL,
    Continues,
    LossTerm,
    Reconstruction,
    RedundancyReduction,
    Reward,
)
from worldmodels.nn.augment import randomly_shifted
from worldmodels.nn.decoders import ConvDecoder, Decoder
from worldmodels.nn.encoders import ConvEncoder, Encoder
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead, Head
from worldmodels.nn.pixels import Centered, PixelScaling, Standardized
from worldmodels.nn.precision import planning_precision, precise
from worldmodels.types import (
    ActionSpace,
    Batch,
    Configurable,
    Losses,
    ObsShape,
    Policy,
    State,
    Trajectory,
    Value,
)

Objective = Callable[["WorldModel", Trajectory], Tensor]
"""Rewards ``[N, H]`` of every imagined step, which score a plan (``planning/objectives.py``)."""


class Observed(NamedTuple):
    """What a model makes of sequences of frames; every state has the leading axes B T.

    ``posterior`` has seen the frame of its step, ``prior`` was predicted before it. ``feature``
    belongs to the posterior.
    """

    embed: Float[Tensor, "B T E"]
    posterior: State
    prior: State
    feature: Float[Tensor, "B T F"]


class LatentModel(nn.Module, Configurable):
    """Filters frames into latent states. A world model predicts them, too.

    As it is, it serves model-free agents: it has no loss of its own, and its states carry the
    gradient of the behaviour's loss to the encoder.

    Args:
        obs_shape: ``(C, h, w)`` of the frames.
        action_space: what an action is.
        encoder: frames to embeddings, called with ``obs_shape``.
        dynamics: called with ``(embed_dim, action_dim)``.
        pixels: bytes to floats, called with ``obs_shape``.
        discount: gamma per agent step.
        pad: in training the encoder sees each sequence shifted at random by at most this many
            pixels; the decoder draws frames where they were.
        burn_in: rows at the beginning of a training sequence that only warm up its state, unless an
            episode begins there: no loss counts them (batch-wide statistics see them, too) and
            nothing is imagined from them.

    Raises:
        ValueError: when a number is out of its range.

    Reference: Yarats, Kostrikov and Fergus, 2021 (DrQ), for the random shift.
    """

    def __init__(
        self,
        obs_shape: ObsShape,
        action_space: ActionSpace,
        encoder: Callable[[ObsShape], Encoder] = ConvEncoder,
        dynamics: Callable[[int, int], Dynamics] = FrameStack,
        pixels: Callable[[ObsShape], PixelScaling] = Centered,
        discount: float = 0.99,
        pad: int = 0,
        burn_in: int = 0,
    ):
        super().__init__()
        if not 0 < discount <= 1:
            raise ValueError(f"discount={discount}: choose a number above 0 and at most 1")
        check_at_least(type(self).__name__, 0, pad=pad, burn_in=burn_in)
        self.obs_shape, self.action_space = obs_shape, action_space
        self.discount, self.pad, self.burn_in = discount, pad, burn_in
        self.pixels = pixels(obs_shape)
        if pad and isinstance(self.pixels, Standardized):
            raise ValueError(
                f"pad={pad}: Standardized scales every place by its own deviation, and shifted "
                "frames would show one place's scale at another: give Centered, or pad=0"
            )
        self.encoder = encoder(obs_shape)
        self.dynamics = dynamics(self.encoder.embed_dim, action_space.dim)

    @property
    def feature_dim(self) -> int:
        """F, the size of what heads, policies and values read."""
        return self.dynamics.feature_dim

    def encode(self, obs: UInt8[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch E"]:
        """Frames of bytes to embeddings."""
        return self.encoder(self.pixels(obs))

    def feature(self, state: State) -> Float[Tensor, "*batch F"]:
        """What heads, policies and values read."""
        return self.dynamics.feature(state)

    def observe(
        self,
        obs: UInt8[Tensor, "B T C h w"],
        action: Float[Tensor, "B T A"],
        is_first: Bool[Tensor, "B T"],
        state: State | None = None,
        pad: int = 0,
    ) -> Observed:
        """Filters sequences of frames, shifted by ``pad``; ``state`` continues earlier ones."""
        # Moved once scaled: what the scaling removes from a still frame stays removed.
        embed = self.encoder(randomly_shifted(self.pixels(obs), pad))  # B T E
        posterior, prior = self.dynamics.observe(embed, action, is_first, state)
        return Observed(embed, posterior, prior, self.feature(posterior))

    def filter(
        self,
        obs: UInt8[Tensor, "B C h w"],
        action: Float[Tensor, "B A"],
        is_first: Bool[Tensor, " B"],
        state: State,
    ) -> State:
        """One step of ``observe``: the state after the frame that ``action`` led to."""
        embed = self.encode(obs)[:, None]  # B 1 E
        posterior, _ = self.dynamics.observe(embed, action[:, None], is_first[:, None], state)
        return select_state(posterior, (slice(None), 0))

    def loss(self, batch: Batch) -> tuple[Losses, State]:
        """No loss of its own, and the posterior states (leading axes B T)."""
        observed = self.observe(batch.obs, batch.action, batch.is_first, pad=self.pad)
        return Losses(torch.zeros((), device=batch.obs.device), {}), observed.posterior

    def update_target(self) -> None:
        """Called after every optimiser step: moving averages follow; there are none here."""


class WorldModel(LatentModel):
    """Encoder, dynamics, decoder, reward and continue heads behind one latent interface.

    Parts come as factories, so that no size is ever written twice.

    Args:
        obs_shape: ``(C, h, w)`` of the frames.
        action_space: what an action is.
        encoder: frames to embeddings, called with ``obs_shape``.
        dynamics: called with ``(embed_dim, action_dim)``.
        decoder: features to frames, called with ``(feature_dim, obs_shape)``; None for a model
            that draws no pictures, but plans and learns policies all the same.
        reward: called with ``feature_dim``.
        continues: probability that the episode goes on, called with ``feature_dim``.
        pixels: bytes to floats, called with ``obs_shape``.
        discount: gamma per agent step.
        terms: of the loss; when None, ``(Reconstruction(), Reward(), Continues(),
            BalancedKL())``, with ``RedundancyReduction()`` in the place of ``Reconstruction()``
            where there is no decoder.
        pad: see ``LatentModel``.
        burn_in: see ``LatentModel``.

    Raises:
        ValueError: when a number is out of its range, or a term needs a part that is missing.

    Reference: Hafner et al., 2019 (PlaNet); 2023 (DreamerV3), equations 3 to 5.
    """

    def __init__(
        self,
        obs_shape: ObsShape,
        action_space: ActionSpace,
        encoder: Callable[[ObsShape], Encoder] = ConvEncoder,
        dynamics: Callable[[int, int], Dynamics] = GaussianRSSM,
        decoder: Callable[[int, ObsShape], Decoder] | None = ConvDecoder,
        reward: Callable[[int], Head] = GaussianRewardHead,
        continues: Callable[[int], Head] = ContinueHead,
        pixels: Callable[[ObsShape], PixelScaling] = Centered,
        discount: float = 0.99,
        terms: Sequence[LossTerm] | None = None,
        pad: int = 0,
        burn_in: int = 0,
    ):
        super().__init__(obs_shape, action_space, encoder, dynamics, pixels, discount, pad, burn_in)
        self.decoder = None if decoder is None else decoder(self.feature_dim, obs_shape)
        self.reward = reward(self.feature_dim)
        self.continues = continues(self.feature_dim)
        if terms is None:
            represents = RedundancyReduction() if decoder is None else Reconstruction()
            terms = (represents, Reward(), Continues(), BalancedKL())
        # Copies: several models may be made from one partial.
        self.terms = nn.ModuleList(deepcopy(term) for term in terms)
        for term in self._loss_terms:
            term.setup(self)

    def decode(self, feature: Float[Tensor, "*batch F"]) -> UInt8[Tensor, "*batch C h w"]:
        """Features to frames of bytes.

        Raises:
            ValueError: when the model has no decoder.
        """
        if self.decoder is None:
            raise ValueError(
                "this model has no decoder: train one on its latents with "
                "`worldmodels fit --only decoder --world_model RUN`"
            )
        return self.pixels.inverse(self.decoder(feature))

    @property
    def _loss_terms(self) -> list[LossTerm]:
        return [term for term in self.terms if isinstance(term, LossTerm)]

    def add_decoder(self, decoder: Callable[[int, ObsShape], Decoder] = ConvDecoder) -> None:
        """Freezes the model and gives it a new decoder, which alone learns from now on."""
        self.requires_grad_(False)
        self.decoder = decoder(self.feature_dim, self.obs_shape)
        terms = [Reconstruction()]
        self.terms = nn.ModuleList(terms)
        self.init_args |= {"decoder": decoder, "terms": terms}

    def loss(self, batch: Batch) -> tuple[Losses, State]:
        """The weighted sum of all terms, and the posterior states (leading axes B T)."""
        observed = self.observe(batch.obs, batch.action, batch.is_first, pad=self.pad)
        counted = batch.counted(self.burn_in).float()  # B T
        weight = counted / counted.mean().clamp(min=1e-8)  # B T, its mean is 1
        total, metrics = torch.zeros((), device=batch.obs.device), {}
        for term in self._loss_terms:
            for name, part in term(self, batch, observed).items():  # B T
                part = weight * part  # B T
                if name in term.weights:
                    total = total + term.weights[name] * part.mean()
                    name = f"loss/{name}"
                metrics[name] = part.detach().mean()
        return Losses(total, metrics), observed.posterior

    def update_target(self) -> None:
        """Moving averages of the loss's terms follow."""
        for term in self._loss_terms:
            term.update_target()

    def predict(self, start: State, actions: Float[Tensor, "N H A"]) -> Trajectory:
        """The outcome of given actions from start states with rows N."""
        return self._trajectory(start, actions, self.dynamics.predict(start, actions))

    def imagine(
        self, start: State, policy: Policy, horizon: int, objective: Objective | None = None
    ) -> Trajectory:
        """Imagines ``horizon`` steps of a policy that acts on features.

        Rewards are an objective's, or the learned ones when None.
        """
        state, states, actions = start, [], []
        for _ in range(horizon):
            actions.append(policy(self.feature(state)))  # N A
            state = self.dynamics.prior(state, actions[-1])
            states.append(state)
        trajectory = self._trajectory(start, torch.stack(actions, 1), stack_states(states, 1))
        if objective is None:
            return trajectory
        return trajectory._replace(reward=_objective_reward(objective, self, trajectory))

    def score(
        self,
        state: State,
        actions: Float[Tensor, "B N H A"],
        value: Value | None = None,
        objective: Objective | None = None,
        aggregation: Callable[[Tensor], Tensor] | None = None,
        max_rollouts: int = 8192,
        fast: bool = False,
    ) -> Float[Tensor, "B N"]:
        """Predicted return of N candidate plans from each of B states.

        Rewards are weighted by the discounts up to their step. The candidates of a state meet the
        same noise, or the luckiest would win instead of the best.

        Args:
            state: where the plans start, rows B.
            actions: the plans.
            value: adds what comes after the horizon.
            objective: rewards of a trajectory; the learned ones when None.
            aggregation: joins the returns of a plan's particles, B N P to B N; the mean when None.
            max_rollouts: rollouts (states times plans times particles) that are predicted at once
                at most, at least one plan per state: the cap on memory.
            fast: multiply in bfloat16 where this processor is faster at it.

        Raises:
            ValueError: when value or objective does not fit or is not finite.

        Reference: Ng and Jordan, 2000 (PEGASUS).
        """
        particles = self.dynamics.particles
        rows = len(actions) * particles
        chunks = actions.split(max(1, max_rollouts // rows), 1)  # each B N' H A
        largest = rows * chunks[0].shape[1]
        precision = planning_precision(actions.device, largest, self.feature_dim)
        scores = []
        with precision if fast else nullcontext():
            for plans in same_noise(chunks):
                total = self._returns(state, plans, value, objective)  # B N' P
                scores.append(total.mean(-1) if aggregation is None else aggregation(total))
        return torch.cat(scores, 1)

    def _returns(
        self,
        state: State,
        actions: Float[Tensor, "B N H A"],
        value: Value | None,
        objective: Objective | None,
    ) -> Float[Tensor, "B N P"]:
        """The return of every particle of every plan.

        The learned reward is read step by step: no trajectory is kept. An objective is shown
        the whole one.
        """
        count, particles = actions.shape[1], self.dynamics.particles
        start = self.dynamics.plan_starts(state, count)  # (B N P) ...
        plans = repeat(actions, "B N H A -> (B N P) H A", P=particles)
        if objective is not None:
            states = self.dynamics.predict(start, plans, count)
            trajectory = self._trajectory(start, plans, states)
            reward = _objective_reward(objective, self, trajectory)  # (B N P) H
            reached = trajectory.discount.cumprod(1)  # (B N P) H
            total = reward[:, 0] + (reached[:, :-1] * reward[:, 1:]).sum(1)
            feature, reached = trajectory.feature[:, -1], reached[:, -1]
        else:
            feature = self.feature(start)
            total, reached = torch.zeros_like(feature[:, 0]), torch.ones_like(feature[:, 0])
            for step, predicted in enumerate(self.dynamics.predict_steps(start, plans, count), 1):
                feature = self.feature(predicted)  # (B N P) F
                total = total + reached * self.reward(feature)
                # Without a value nothing comes after the last step.
                if step < plans.shape[1] or value is not None:
                    reached = reached * self.discounts(feature)
        if value is not None:
            total = total + reached * _checked_value(value, feature)
        return rearrange(total, "(B N P) -> B N P", N=count, P=particles)

    def discounts(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """Discount per step: gamma times the predicted probability of continuing."""
        probability = self.continues(feature)
        # A head may answer in bfloat16, where a gamma of 0.99 is 0.988.
        return self.discount * precise(probability)

    def _trajectory(self, start: State, actions: Tensor, states: State) -> Trajectory:
        after = self.feature(states)  # N H F
        feature = torch.cat([self.feature(start)[:, None], after], 1)  # N H+1 F
        return Trajectory(
            feature, actions, self.reward(after), self.discounts(after), start, states
        )


def _objective_reward(
    objective: Objective, model: WorldModel, trajectory: Trajectory
) -> Float[Tensor, "N H"]:
    reward = objective(model, trajectory)
    if reward.shape != trajectory.reward.shape:
        raise ValueError(
            f"objective {objective!r} returned shape {tuple(reward.shape)}, "
            f"expected one reward per step [N, H] = {tuple(trajectory.reward.shape)}"
        )
    wrong = int((~torch.isfinite(reward)).sum())
    if wrong:
        raise ValueError(
            f"objective {objective!r}: {wrong} of {reward.numel()} rewards are not finite: "
            "guard its logarithms and divisions"
        )
    return reward


def _checked_value(value: Value, feature: Float[Tensor, "N F"]) -> Float[Tensor, " N"]:
    fix = f"fit it to this model's features of size {feature.shape[-1]}"
    try:
        predicted = value(feature)
    except RuntimeError as error:
        raise ValueError(f"the value cannot read the feature ({error}): {fix}") from error
    if predicted.shape != feature.shape[:-1]:
        raise ValueError(
            f"the value returned shape {tuple(predicted.shape)}, "
            f"expected {tuple(feature.shape[:-1])}: {fix}"
        )
    return predicted
