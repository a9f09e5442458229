"""An episode as the model imagines it, beside what really happened."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from worldmodels.checks import check_at_least
from worldmodels.dynamics.base import repeat_state, select_state
from worldmodels.envs.base import PixelEnv
from worldmodels.evaluation.agents import PlannerChoice, acting_agent
from worldmodels.evaluation.returns import evaluate_returns
from worldmodels.evaluation.subject import (
    Run,
    Subject,
    data_of,
    evaluating,
    find_subject,
    recorded_episode,
    world_of,
)
from worldmodels.replay.episode import Episode
from worldmodels.replay.store import EpisodeStore
from worldmodels.types import Policy, State
from worldmodels.viz.dream import DreamRecord
from worldmodels.viz.panels import dream_panels
from worldmodels.viz.video import check_video_path, write_video
from worldmodels.world_model import WorldModel


@dataclass(frozen=True)
class Dream:
    """An imagined episode, ready to be drawn.

    Attributes:
        record: frames and rewards, true and imagined.
        frame_rate: agent steps per second of the world.
        title: the world's name.
        path: the video, once it is written.
    """

    record: DreamRecord
    frame_rate: float
    title: str = ""
    path: Path | None = None

    @property
    def frames(self) -> UInt8[np.ndarray, "T y x 3"]:
        """The frames of the video: truth, reconstruction, futures, error, and the rewards."""
        return dream_panels(self.record, self.title)

    def save(self, path: Path | str) -> "Dream":
        """Writes the video as .mp4, .gif or .webp.

        Raises:
            ValueError: for another suffix.
        """
        write_video(path, self.frames, self.frame_rate)
        return replace(self, path=Path(path))

    def __str__(self) -> str:
        done = "not written yet" if self.path is None else f"wrote {self.path}"
        return f"{done}: {len(self.record.truth)} frames at {self.frame_rate:g} per second"

    __repr__ = __str__


def imagine(
    run: Run,
    out: Path | str | None = None,
    *,
    env: PixelEnv | None = None,
    data: Path | str | EpisodeStore | None = None,
    episode: int = 0,
    context: int = 5,
    horizon: int = 45,
    futures: int = 2,
    start: int = 0,
    seed: int = 1000,
    planner: PlannerChoice | None = None,
    policy: bool = False,
) -> Dream:
    """Shows a run's model the beginning of an episode, and lets it imagine the rest.

    Args:
        run: a run folder, what ``train`` returned, or an agent together with ``env`` or ``data``.
        out: the video, .mp4, .gif or .webp; nothing is written when None.
        env: where the true episode is played, in place of the run's own environment.
        data: the true episode is taken from this data set instead.
        episode: which one of the data set.
        context: frames seen.
        horizon: steps imagined.
        futures: how many sequences are imagined from the same state.
        start: the first row of the episode.
        seed: of the episode that is played, and of what is imagined.
        planner: plays the true episode: a name, class path, YAML file or planner.
        policy: the run's policy acts in what is imagined; else the true actions are repeated.

    Raises:
        FileNotFoundError: when there is no model or no data set.
        ValueError: when the episode is too short, the model draws no pictures, or an argument does
            not fit.

    Example::

        dream = wm.imagine("runs/cart", "dream.mp4")
        print(dream)
    """
    check_at_least("imagine", 1, context=context, horizon=horizon, futures=futures)
    check_at_least("imagine", 0, start=start)
    if out is not None:
        check_video_path(out)
    if data is not None and planner is not None:
        raise ValueError(f"planner={planner} and data: nothing is played, leave out one of them")
    subject = find_subject(run)
    _check_draws(subject)
    acts = _mode_of(subject) if policy else None
    with evaluating(subject.agent):
        if data is None:
            agent = acting_agent(subject, planner)
            with world_of(subject, env, num_envs=1) as world:
                truth = evaluate_returns(agent, world, 1, seed).episodes[0]
                title, frame_rate = world.name, world.frame_rate
        else:
            store = data_of(subject, data)
            truth = recorded_episode(store, episode)
            title, frame_rate = store.spec.env, store.spec.frame_rate
        record = imagine_episode(subject.model, truth, context, horizon, futures, start, seed, acts)
    dream = Dream(record, frame_rate, title)
    return dream if out is None else dream.save(out)


def _check_draws(subject: Subject) -> None:
    # Before an episode is played.
    if subject.model.decoder is None:
        raise ValueError(
            f"{subject.name} has no decoder to draw what it imagines: train one on its latents "
            "with `worldmodels fit --only decoder --world_model RUN`"
        )


def _mode_of(subject: Subject) -> Policy:
    """The mode of the policy, as a function of features."""
    behaviour = subject.behaviour
    return lambda feature: behaviour.policy(feature).mode()


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
            "for: choose a smaller horizon, context or start"
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
    """Shows the model ``context`` frames and lets it imagine the rest.

    Args:
        world_model: the model.
        episode: what really happened.
        context: frames seen.
        horizon: steps imagined.
        futures: how many sequences are imagined.
        start: the first row of the episode.
        seed: of the noise; torch's own generators are left as they were.
        policy: acts in what is imagined; the true actions are repeated when None.

    Raises:
        ValueError: when the episode is too short, or a number is below 1.
    """
    check_at_least("imagine_episode", 1, futures=futures)
    obs, action, is_first = stretch(episode, context, horizon, start)  # 1 T ...
    device = next(world_model.parameters()).device
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        seen = world_model.observe(obs.to(device), action.to(device), is_first.to(device))
        after: State = select_state(seen.posterior, (slice(None), context - 1))  # 1 ...
        starts = repeat_state(after, futures)  # N ...
        if policy is None:
            actions = action[:, context:].to(device).repeat(futures, 1, 1)  # N H A
            imagined = world_model.predict(starts, actions)
        else:
            imagined = world_model.imagine(starts, policy, horizon)
    rows = slice(start, start + context + horizon)
    return DreamRecord(
        truth=episode.obs[rows],
        reconstruction=_array(world_model.decode(seen.feature)[0]),
        dream=_array(world_model.decode(imagined.feature[:, 1:])),
        reward=episode.reward[rows].astype(np.float64),
        reconstruction_reward=_array(world_model.reward(seen.feature)[0]).astype(np.float64),
        dream_reward=_array(imagined.reward).astype(np.float64),
        context=context,
        start=start,
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
