"""One episode as the model dreams it."""

import numpy as np
import torch
from torch import Tensor

from worldmodels.dynamics.base import repeat_state, select_state
from worldmodels.replay.episode import Episode
from worldmodels.types import Policy, State
from worldmodels.viz.dream import DreamRecord
from worldmodels.world_model import WorldModel


def stretch(
    episode: Episode, context: int, horizon: int, start: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, actions and first-flags of ``context + horizon`` rows, with a batch axis of 1.

    Raises:
        ValueError: when the episode is too short.
    """
    rows = context + horizon
    if context < 1 or horizon < 1 or start < 0:
        raise ValueError(
            f"context={context}, horizon={horizon}, start={start}: choose at least 1, 1 and 0"
        )
    if start + rows > episode.rows:
        raise ValueError(
            f"the episode has {episode.rows} frames, {start} + {context} + {horizon} were asked "
            "for: choose a smaller --horizon, --context or --start"
        )
    part = slice(start, start + rows)
    return (
        torch.from_numpy(episode.obs[part])[None],
        torch.from_numpy(episode.action[part])[None],
        torch.from_numpy(episode.is_first[part])[None],
    )


@torch.no_grad()
def imagine_episode(
    world_model: WorldModel,
    episode: Episode,
    context: int = 5,
    horizon: int = 45,
    futures: int = 1,
    start: int = 0,
    seed: int = 0,
    policy: Policy | None = None,
) -> DreamRecord:
    """Shows the model ``context`` frames and lets it dream on.

    Args:
        world_model: the model.
        episode: what really happened.
        context: frames seen.
        horizon: steps dreamt.
        futures: how many dreams are drawn.
        start: the first row of the episode.
        seed: of the dreams; torch's own generators are left as they were.
        policy: acts in the dream; the true actions are repeated when None.

    Raises:
        ValueError: when the episode is too short, or a number is below 1.
    """
    if futures < 1:
        raise ValueError(f"futures={futures}: choose 1 or more")
    obs, action, is_first = stretch(episode, context, horizon, start)
    device = next(world_model.parameters()).device
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        seen = world_model.observe(obs.to(device), action.to(device), is_first.to(device))
        after: State = select_state(seen.posterior, (slice(None), context - 1))
        starts = repeat_state(after, futures)
        if policy is None:
            actions = action[:, context:].to(device).repeat(futures, 1, 1)
            dream = world_model.rollout(starts, actions)
        else:
            dream = world_model.imagine(starts, policy, horizon)
    filtered = world_model.feature(seen.posterior)
    return DreamRecord(
        truth=episode.obs[start : start + context + horizon],
        reconstruction=_array(world_model.decode(filtered)[0]),
        dream=_array(world_model.decode(dream.feature[:, 1:])),
        reward=episode.reward[start : start + context + horizon].astype(np.float64),
        reconstruction_reward=_array(world_model.reward(filtered)[0]).astype(np.float64),
        dream_reward=_array(dream.reward).astype(np.float64),
        context=context,
        start=start,
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
