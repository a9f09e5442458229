"""Model-free baselines: the same algorithms, encoder and replay, and no model of the world."""

import torch
from jaxtyping import Bool
from torch import Tensor

from worldmodels.behaviours.algorithm import AlgorithmBehaviour, AlgorithmFactory
from worldmodels.behaviours.sac import SAC
from worldmodels.behaviours.transitions import replayed_transitions
from worldmodels.types import ActionSpace, Batch, Losses, State
from worldmodels.world_model import LatentModel, WorldModel


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

    def loss(self, world_model: LatentModel, batch: Batch, posterior: State) -> Losses:
        """The algorithm's loss, with its gradient to the encoder behind ``posterior``.

        Raises:
            TypeError: when there is a model of the world: it would be trained by this loss.
        """
        if isinstance(world_model, WorldModel):
            raise TypeError(
                f"ModelFree trains the encoder itself, {type(world_model).__name__} does too: "
                "give --model LatentModel, or --behaviour MBPO"
            )
        feature = world_model.feature(posterior)
        transitions = replayed_transitions(batch, feature, world_model.discount)
        frames = getattr(world_model.dynamics, "frames", 1)
        known = complete_memory(batch.is_first, frames)[:, :-1]
        return self.algorithm.loss(transitions._replace(weight=transitions.weight * known))


def complete_memory(is_first: Bool[Tensor, "B T"], frames: int) -> Bool[Tensor, "B T"]:
    """Where a state remembers all that it would when acting.

    A sequence that begins within an episode lacks the frames before it.
    """
    begun = is_first.cumsum(1) > 0
    return begun | (torch.arange(is_first.shape[1], device=is_first.device) >= frames - 1)
