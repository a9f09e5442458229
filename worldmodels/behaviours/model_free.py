"""Model-free baselines: the same algorithms, encoder and replay without a world model."""

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.algorithm import AlgorithmBehaviour, AlgorithmFactory
from worldmodels.behaviours.sac import SAC
from worldmodels.behaviours.transitions import replayed_transitions
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.types import ActionSpace, Batch, Losses, State
from worldmodels.world_model import LatentModel, WorldModel


class ModelFree(AlgorithmBehaviour):
    """Learns from replayed transitions alone; the critic's gradient trains the encoder.

    Replay decides whether learning is on-policy: it is with a sampler of the latest round alone.

    With SAC and a model's ``pad`` this is near DrQ. Four things differ: a shift is drawn once for a
    sequence instead of for every transition, transitions of a batch are neighbours, one shift of
    each side is taken instead of two, and targets read the encoder that learns instead of a slow
    copy of it (their action values are slow copies).

    Args:
        feature_dim: F.
        action_space: what an action is.
        algorithm: ``SAC``, ``DQN`` or ``PPO``, with its options.
        independent_shifts: where the model shifts frames, those that a transition leads to are
            encoded once more under another shift, without gradients: the value of a state then
            learns from the value of a picture that is shifted otherwise. Costs one more pass of the
            encoder.

    Reference: Yarats, Kostrikov and Fergus, 2021 (DrQ), algorithm 1.
    """

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        algorithm: AlgorithmFactory = SAC,
        independent_shifts: bool = True,
    ):
        super().__init__(feature_dim, action_space, algorithm)
        self.independent_shifts = independent_shifts

    def loss(self, world_model: LatentModel, batch: Batch, posterior: State) -> Losses:
        """The algorithm's loss, with its gradient to the encoder behind ``posterior``.

        Raises:
            TypeError: for a world model, whose latents this loss would change.
        """
        if isinstance(world_model, WorldModel):
            raise TypeError(
                f"ModelFree trains the encoder itself, {type(world_model).__name__} does too: "
                "give --model LatentModel, or --behaviour MBPO"
            )
        feature = world_model.feature(posterior)  # B T F
        dynamics, burn_in = world_model.dynamics, world_model.burn_in
        if isinstance(dynamics, FrameStack):
            # Only states that hold all the frames that they would hold while acting.
            burn_in = max(burn_in, dynamics.frames - 1)
        transitions = replayed_transitions(batch, feature, world_model.discount, burn_in)
        # A frozen encoder has seen frames where they are.
        if self.independent_shifts and world_model.pad and feature.requires_grad:
            transitions = transitions._replace(after=shifted_again(world_model, batch)[:, 1:])
        return self.algorithm.loss(transitions)


@torch.no_grad()
def shifted_again(world_model: LatentModel, batch: Batch) -> Float[Tensor, "B T F"]:
    """The features of a batch's frames under new shifts."""
    pad = world_model.pad
    return world_model.observe(batch.obs, batch.action, batch.is_first, pad=pad).feature
