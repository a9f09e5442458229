"""Model-free baselines: the same algorithms, encoder and replay without a world model."""

import torch
from jaxtyping import Bool
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

    Args:
        feature_dim: F.
        action_space: what an action is.
        algorithm: ``SAC``, ``DQN`` or ``PPO``, with its options.
    """

    def __init__(
        self, feature_dim: int, action_space: ActionSpace, algorithm: AlgorithmFactory = SAC
    ):
        super().__init__(feature_dim, action_space, algorithm)

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
        transitions = replayed_transitions(batch, feature, world_model.discount)
        dynamics = world_model.dynamics
        if isinstance(dynamics, FrameStack):
            known = complete_memory(batch.is_first, dynamics.frames)[:, :-1]  # B T-1
            transitions = transitions._replace(weight=transitions.weight * known)
        return self.algorithm.loss(transitions)


def complete_memory(is_first: Bool[Tensor, "B T"], frames: int) -> Bool[Tensor, "B T"]:
    """The rows whose state holds all the frames that it would hold while acting.

    A sequence that begins within an episode lacks the frames before it.
    """
    begun = is_first.cumsum(1) > 0  # B T
    row = torch.arange(is_first.shape[1], device=is_first.device)  # T
    return begun | (row >= frames - 1)  # B T
