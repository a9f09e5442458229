"""Model-free twins: the same learners, encoder and replay, and no model of the world."""

from collections.abc import Callable
from functools import partial
from typing import NoReturn

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldmodels.behaviours.algorithm import AlgorithmBehaviour, AlgorithmFactory
from worldmodels.behaviours.sac import SAC
from worldmodels.behaviours.transitions import replayed_transitions
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.nn.augment import randomly_shifted
from worldmodels.nn.decoders import Decoder
from worldmodels.nn.encoders import ConvEncoder, Encoder
from worldmodels.nn.heads import Head
from worldmodels.nn.pixels import Centered, PixelScaling
from worldmodels.types import ActionSpace, Batch, Losses, ObsShape, State
from worldmodels.world_model import WorldModel


class Perception(WorldModel):
    """Sees as a world model does, and dreams of nothing: for ``ModelFree``.

    Its encoder learns by the behaviour's loss alone, from frames that are shifted at random.

    Args:
        obs_shape: ``(C, h, w)`` of the frames.
        action_space: what an action is.
        encoder: frames to embeddings, called with ``obs_shape``.
        frames: that a state remembers.
        size: of a remembered frame.
        pixels: bytes to floats, called with ``obs_shape``.
        discount: gamma per agent step.
        shift: pixels by which training frames are shifted at most, alike within a sequence.

    Raises:
        ValueError: when ``shift`` is negative.

    Reference: Yarats, Kostrikov and Fergus, 2021 (DrQ).
    """

    def __init__(
        self,
        obs_shape: ObsShape,
        action_space: ActionSpace,
        encoder: Callable[[ObsShape], Encoder] = ConvEncoder,
        frames: int = 2,
        size: int = 64,
        pixels: Callable[[ObsShape], PixelScaling] = Centered,
        discount: float = 0.99,
        shift: int = 3,
    ):
        super().__init__(
            obs_shape,
            action_space,
            encoder,
            partial(FrameStack, frames=frames, size=size),
            decoder=_NoDecoder,
            reward=_NoHead,
            continues=_NoHead,
            pixels=pixels,
            discount=discount,
            shift=shift,
        )
        self.frames = frames

    def loss(self, batch: Batch) -> tuple[Losses, State]:
        """No loss of its own; states that carry the gradient to the encoder."""
        obs = randomly_shifted(batch.obs, self.shift)
        seen = self.observe(obs, batch.action, batch.is_first)
        return Losses(torch.zeros((), device=obs.device), {}), seen.posterior


class ModelFree(AlgorithmBehaviour):
    """Learns from replayed transitions alone; the critic's gradient trains the encoder.

    On-policy or off-policy is a matter of replay: a sampler that shows the latest round alone
    makes it on-policy.

    Args:
        feature_dim: F.
        action_space: what an action is.
        algorithm: ``SAC``, ``DQN`` or ``PPO``, with its options.
    """

    def __init__(
        self, feature_dim: int, action_space: ActionSpace, algorithm: AlgorithmFactory = SAC
    ):
        super().__init__(feature_dim, action_space, algorithm)

    def loss(self, world_model: WorldModel, batch: Batch, posterior: State) -> Losses:
        """The algorithm's loss, with its gradient to the encoder behind ``posterior``.

        Raises:
            TypeError: when there is a model of the world: it would be trained by this loss.
        """
        if not isinstance(world_model, Perception):
            raise TypeError(
                f"ModelFree trains the encoder itself, {type(world_model).__name__} does too: "
                "give --model Perception, or --behaviour MBPO"
            )
        feature = world_model.feature(posterior)
        transitions = replayed_transitions(batch, feature, world_model.discount)
        known = complete_memory(batch.is_first, world_model.frames)[:, :-1]
        return self.algorithm.loss(transitions._replace(weight=transitions.weight * known))


def dreams(world_model: WorldModel) -> bool:
    """Whether it predicts anything: frames, rewards, the end of an episode."""
    return not isinstance(world_model, Perception)


def complete_memory(is_first: Bool[Tensor, "B T"], frames: int) -> Bool[Tensor, "B T"]:
    """Where a state remembers all that it would when acting.

    A sequence that begins within an episode lacks the frames before it.
    """
    begun = is_first.cumsum(1) > 0
    return begun | (torch.arange(is_first.shape[1], device=is_first.device) >= frames - 1)


class _NoDecoder(Decoder):
    """Stands where a model-free agent has nothing."""

    def __init__(self, feature_dim: int, obs_shape: ObsShape):
        super().__init__()

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch C h w"]:
        """Refuses."""
        _refuse()


class _NoHead(Head):
    """Stands where a model-free agent has nothing."""

    def __init__(self, feature_dim: int):
        super().__init__()

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """Refuses."""
        _refuse()

    def loss(
        self, feature: Float[Tensor, "*batch F"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Refuses."""
        _refuse()


def _refuse() -> NoReturn:
    raise TypeError(
        "a model-free agent predicts nothing and can neither imagine nor plan: train it with "
        "--behaviour ModelFree --acting ByPolicy and see it by `worldmodels evaluate`"
    )
