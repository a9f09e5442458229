"""The hub: one latent simulator that observes, imagines, scores plans and decodes its dreams."""

from collections.abc import Callable
from functools import partial

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from worldmodels.dynamics.base import (
    Dynamics,
    Observed,
    detach_state,
    flatten_state,
    map_state,
    select_state,
    stack_states,
)
from worldmodels.dynamics.rssm import GaussianRSSM
from worldmodels.nn.augment import randomly_shifted
from worldmodels.nn.decoders import ConvDecoder, Decoder
from worldmodels.nn.encoders import ConvEncoder, Encoder
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead, Head
from worldmodels.nn.pixels import Centered, PixelScaling
from worldmodels.rollout import Followed, Judge, Rollout, judged, valued
from worldmodels.types import (
    ActionSpace,
    Batch,
    Losses,
    ObsShape,
    Policy,
    State,
    Trajectory,
    Value,
)


class WorldModel(nn.Module):
    """Encoder, dynamics, decoder, reward and continue heads behind one latent interface.

    Parts come as factories, so that no size is ever written twice.

    Args:
        obs_shape: ``(C, h, w)`` of the frames.
        action_space: what an action is.
        encoder: frames to embeddings, called with ``obs_shape``.
        dynamics: called with ``(embed_dim, action_dim)``.
        decoder: features to frames, called with ``(feature_dim, obs_shape)``.
        reward: called with ``feature_dim``.
        continues: probability that the episode goes on, called with ``feature_dim``.
        pixels: bytes to floats, called with ``obs_shape``.
        discount: gamma per agent step.
        image_weight: weight of the squared error summed over a frame's pixels.
        reward_weight: weight of the reward head's loss.
        continue_weight: weight of the continue head's loss.
        dynamics_weight: weight of the KL that trains the prior towards the posterior.
        representation_weight: weight of the KL that trains the posterior towards the prior.
        free_nats: KL below this many nats per time step is not penalised.
        image_fraction: share of time steps that are decoded in training (an unbiased estimate).
        shift: pixels by which training frames are shifted at most, alike within a sequence.

    Reference: Hafner et al., 2019 (PlaNet); 2023 (DreamerV3), equations 3 to 5.
    """

    def __init__(
        self,
        obs_shape: ObsShape,
        action_space: ActionSpace,
        encoder: Callable[[ObsShape], Encoder] = ConvEncoder,
        dynamics: Callable[[int, int], Dynamics] = GaussianRSSM,
        decoder: Callable[[int, ObsShape], Decoder] = ConvDecoder,
        reward: Callable[[int], Head] = GaussianRewardHead,
        continues: Callable[[int], Head] = ContinueHead,
        pixels: Callable[[ObsShape], PixelScaling] = Centered,
        discount: float = 0.99,
        image_weight: float = 1.0,
        reward_weight: float = 1.0,
        continue_weight: float = 1.0,
        dynamics_weight: float = 0.8,
        representation_weight: float = 0.2,
        free_nats: float = 1.0,
        image_fraction: float = 1.0,
        shift: int = 0,
    ):
        super().__init__()
        _check_options(discount, image_fraction, shift)
        self.obs_shape, self.action_space = obs_shape, action_space
        self.pixels = pixels(obs_shape)
        self.encoder = encoder(obs_shape)
        self.dynamics = dynamics(self.encoder.embed_dim, action_space.dim)
        self.decoder = decoder(self.dynamics.feature_dim, obs_shape)
        self.reward = reward(self.dynamics.feature_dim)
        self.continues = continues(self.dynamics.feature_dim)
        self.discount, self.free_nats = discount, free_nats
        self.image_fraction, self.shift = image_fraction, shift
        self.weights = {
            "image": image_weight,
            "reward": reward_weight,
            "continue": continue_weight,
            "dynamics": dynamics_weight,
            "representation": representation_weight,
        }

    def encode(self, obs: UInt8[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch E"]:
        """Frames of bytes to embeddings."""
        return self.encoder(self.pixels(obs))

    def decode(self, feature: Float[Tensor, "*batch F"]) -> UInt8[Tensor, "*batch C h w"]:
        """Features to frames of bytes."""
        return self.pixels.inverse(self.decoder(feature))

    def feature(self, state: State) -> Float[Tensor, "*batch F"]:
        """What heads, policies and values read."""
        return self.dynamics.feature(state)

    def observe(
        self,
        obs: UInt8[Tensor, "B T C h w"],
        action: Float[Tensor, "B T A"],
        is_first: Bool[Tensor, "B T"],
        state: State | None = None,
    ) -> Observed:
        """Filters a sequence of frames; leading axes of the states are B T."""
        return self.dynamics.observe(self.encode(obs), action, is_first, state)

    def loss(self, batch: Batch) -> tuple[Losses, State]:
        """The training loss of every part, and the posterior states (leading axes B T)."""
        obs = randomly_shifted(batch.obs, self.shift)
        posterior, prior = self.observe(obs, batch.action, batch.is_first)
        feature = self.feature(posterior)
        # Balanced KL: the same value twice, each with one side held fixed.
        kl = self.dynamics.kl(detach_state(posterior), prior)
        parts = {
            "reward": self.reward.loss(feature, batch.reward),
            "continue": self.continues.loss(feature, (~batch.is_terminal).float()),
            "dynamics": kl.clamp(min=self.free_nats),
            "representation": self.dynamics.kl(posterior, detach_state(prior)).clamp(
                min=self.free_nats
            ),
        }
        parts["image"], unexplained = self._image_loss(feature, obs)
        total = torch.stack([self.weights[name] * part.mean() for name, part in parts.items()])
        metrics = {f"loss/{name}": part.detach().mean() for name, part in parts.items()}
        metrics |= {"kl": kl.detach().mean(), "image_fvu": unexplained}
        return Losses(total.sum(), metrics), posterior

    def _image_loss(self, feature: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error per decoded frame, and the share of the image that is not explained."""
        steps = obs.shape[1]
        count = max(1, round(self.image_fraction * steps))
        if count < steps:
            chosen = torch.randperm(steps, device=obs.device)[:count]
            feature, obs = feature[:, chosen], obs[:, chosen]
        target = self.pixels(obs)
        error = self.decoder.squared_error(feature, target)
        power = target.square().sum((-1, -2, -3)).mean()
        return error, error.detach().mean() / power.clamp(min=1e-8)

    def rollout(self, start: State, actions: Float[Tensor, "N H A"]) -> Trajectory:
        """Imagines the outcome of given actions."""
        return self._imagined(start, Followed(self.dynamics.imagine(start, actions), actions))

    def imagine(
        self, start: State, policy: Policy, horizon: int, objective: Judge | None = None
    ) -> Trajectory:
        """Imagines ``horizon`` steps of a policy that acts on features.

        Rewards are an objective's (see ``objectives.py``), the learned ones when None.
        """
        return self._imagined(start, self.follow(start, policy, horizon), objective)

    def follow(self, start: State, policy: Policy, horizon: int) -> Followed:
        """Where a policy leads, as states: for who must go on from there."""
        state, states, actions = start, [], []
        for _ in range(horizon):
            actions.append(policy(self.feature(state)))
            state = self.dynamics.prior(state, actions[-1])
            states.append(state)
        return Followed(stack_states(states, 1), torch.stack(actions, 1))

    def _imagined(
        self, start: State, followed: Followed, objective: Judge | None = None
    ) -> Trajectory:
        after = self.feature(followed.states)
        feature = torch.cat([self.feature(start)[:, None], after], 1)
        dream = Trajectory(feature, followed.actions, self.reward(after), self.discounts(after))
        if objective is None:
            return dream
        return dream._replace(reward=judged(objective, self._rollout(start, followed, dream)))

    def score(
        self,
        state: State,
        actions: Float[Tensor, "B N H A"],
        value: Value | None = None,
        objective: Judge | None = None,
        aggregation: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B N"]:
        """Predicted return of N candidate plans from each of B states.

        Rewards are weighted by the discounts up to their step. The candidates of a state meet the
        same noise, or the luckiest would win instead of the best.

        Args:
            state: where the plans start, rows B.
            actions: the plans.
            value: adds what comes after the horizon.
            objective: rewards N H of a rollout (see ``objectives.py``); learned ones when None.
            aggregation: joins the returns of a plan's particles, B N P to B N; the mean when None.

        Raises:
            ValueError: when value or objective does not fit or is not finite.

        Reference: Ng and Jordan, 2000 (PEGASUS).
        """
        particles, candidates = self.dynamics.particles, actions.shape[1]
        start = self.dynamics.spread(state, candidates)
        plans = repeat(actions, "B N H A -> (B N P) H A", P=particles)
        if objective is None:
            total = self._learned_return(start, plans, candidates, value)
        else:
            total = self._judged_return(start, plans, candidates, value, objective)
        returns = rearrange(total, "(B N P) -> B N P", N=candidates, P=particles)
        return returns.mean(-1) if aggregation is None else aggregation(returns)

    def _learned_return(
        self, start: State, plans: Float[Tensor, "N H A"], candidates: int, value: Value | None
    ) -> Float[Tensor, " N"]:
        """Reads each step as it is predicted: nothing of the dream is kept or copied."""
        feature = self.feature(start)
        total, reached = torch.zeros_like(feature[:, 0]), torch.ones_like(feature[:, 0])
        for step, state in enumerate(self.dynamics.unroll(start, plans, candidates), 1):
            feature = self.feature(state)
            total = total + reached * self.reward(feature)
            # Without a value nothing comes after the last step.
            if step < plans.shape[1] or value is not None:
                reached = reached * self.discounts(feature)
        return total if value is None else total + reached * valued(value, feature)

    def _judged_return(
        self,
        start: State,
        plans: Float[Tensor, "N H A"],
        candidates: int,
        value: Value | None,
        objective: Judge,
    ) -> Float[Tensor, " N"]:
        """Shows the objective the whole dream."""
        followed = Followed(self.dynamics.imagine(start, plans, candidates), plans)
        dream = self._imagined(start, followed, objective)
        reached = torch.cumprod(dream.discount, -1)
        total = dream.reward[:, 0] + (reached[:, :-1] * dream.reward[:, 1:]).sum(-1)
        return (
            total if value is None else total + reached[:, -1] * valued(value, dream.feature[:, -1])
        )

    def _rollout(self, start: State, followed: Followed, dream: Trajectory) -> Rollout:
        def disagreement() -> Tensor:
            states = map_state(
                lambda first, later: torch.cat([first[:, None], later[:, :-1]], 1),
                start,
                followed.states,
            )
            actions = rearrange(followed.actions, "N H A -> (N H) A")
            about = self.dynamics.disagreement(flatten_state(states), actions)
            return rearrange(about, "(N H) -> N H", H=followed.actions.shape[1])

        return Rollout(*dream, partial(self.decode, dream.feature[:, 1:]), disagreement)

    def filter(
        self,
        obs: UInt8[Tensor, "B C h w"],
        action: Float[Tensor, "B A"],
        is_first: Bool[Tensor, " B"],
        state: State,
    ) -> State:
        """One step of ``observe``: the state after the frame that ``action`` led to."""
        seen = self.observe(obs[:, None], action[:, None], is_first[:, None], state)
        return select_state(seen.posterior, (slice(None), 0))

    def discounts(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """What counts of all that follows on states: gamma times the chance to go on."""
        survival = self.continues(feature)
        # Never in bfloat16, where 0.99 is 0.988.
        return self.discount * survival.to(torch.promote_types(survival.dtype, torch.float32))


def _check_options(discount: float, image_fraction: float, shift: int) -> None:
    if not 0 < discount <= 1:
        raise ValueError(f"discount={discount}: choose a number above 0 and at most 1")
    if not 0 < image_fraction <= 1:
        raise ValueError(f"image_fraction={image_fraction}: choose a share above 0 and at most 1")
    if shift < 0:
        raise ValueError(f"shift={shift}: choose 0 pixels or more")
