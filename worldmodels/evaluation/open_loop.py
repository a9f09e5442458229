"""Open-loop error by horizon: how far ahead a dream stays true."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from worldmodels.dynamics.base import select_state
from worldmodels.evaluation.images import (
    masked_squared_error,
    moving_pixels,
    squared_error,
    ssim,
    to_psnr,
)
from worldmodels.evaluation.imagine import stretch
from worldmodels.evaluation.statistics import bootstrap_band
from worldmodels.replay.episode import Episode
from worldmodels.viz.bands import Band
from worldmodels.viz.plots import Panel
from worldmodels.world_model import WorldModel

MODEL, COPY, EMPTY = "model", "copy last frame", "empty background"


class OpenLoopError(NamedTuple):
    """Error at each step of a dream, of the model and of two baselines that never move on.

    One repeats the last frame and reward that were seen, and expects to continue. The other shows
    the episode's background (each pixel's median over time) and nothing that moves.
    Every measure maps ``"model"``, ``"copy last frame"`` and, where it is about pictures,
    ``"empty background"`` to a band over the H steps, with bootstrap intervals over episodes (over
    sequences where there is only one episode, too narrow then: its sequences overlap).

    Attributes:
        psnr: dB over whole frames.
        ssim: structural similarity.
        moving_psnr: dB over the pixels where something moves (in the truth), which a mean over
            the frame hides.
        reward: absolute error.
        discontinue: absolute error of the probability to continue.
        sequences: number of sequences.
        context: frames seen before the dream.
    """

    psnr: dict[str, Band]
    ssim: dict[str, Band]
    moving_psnr: dict[str, Band]
    reward: dict[str, Band]
    discontinue: dict[str, Band]
    sequences: int
    context: int

    def panels(self) -> list[Panel]:
        """For ``viz.plots.error_by_horizon``."""
        return [
            Panel("Frames", "PSNR (dB)", self.psnr),
            Panel("Moving pixels", "PSNR (dB)", self.moving_psnr),
            Panel("Structure", "SSIM", self.ssim),
            Panel("Reward", "absolute error", self.reward),
            Panel("Continuation", "absolute error", self.discontinue),
        ]

    def table(self, steps: Sequence[int] = (1, 5, 15, 45)) -> Table:
        """The model beside the baseline at some horizons."""
        table = Table(title=f"Open loop after {self.context} frames, {self.sequences} dreams")
        last = len(self.psnr[MODEL].mean)
        shown = sorted({step for step in steps if step <= last} | {last})
        table.add_column("measure")
        for step in shown:
            table.add_column(f"step {step}", justify="right")
        names = ("PSNR dB", "moving PSNR dB", "SSIM", "reward error", "continue error")
        values = (self.psnr, self.moving_psnr, self.ssim, self.reward, self.discontinue)
        for name, bands in zip(names, values, strict=True):
            for who, band in bands.items():
                row = [f"{band.mean[step - 1]:.3g}" for step in shown]
                table.add_row(f"{name}, {who}", *row)
        return table

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        measures = ("psnr", "ssim", "moving_psnr", "reward", "discontinue")
        result: dict[str, Any] = {"sequences": self.sequences, "context": self.context}
        for measure in measures:
            bands: dict[str, Band] = getattr(self, measure)
            result[measure] = {
                name: {key: _plain(value) for key, value in band._asdict().items()}
                for name, band in bands.items()
            }
        return result


class _Errors(NamedTuple):
    """Per-sequence values of every measure, H numbers each."""

    psnr: Tensor
    ssim: Tensor
    moving_psnr: Tensor
    reward: Tensor
    discontinue: Tensor


_PICTURE = ("psnr", "ssim", "moving_psnr")


@torch.no_grad()
def open_loop(
    world_model: WorldModel,
    episodes: Sequence[Episode],
    context: int = 5,
    horizon: int = 45,
    sequences: int = 50,
    seed: int = 0,
) -> OpenLoopError:
    """Dreams from many places of recorded episodes and compares with what happened.

    Args:
        world_model: the model.
        episodes: recorded episodes the model was not trained on.
        context: frames seen before each dream.
        horizon: H, steps of each dream.
        sequences: how many dreams, spread evenly over all possible starts.
        seed: of the dreams; torch's own generators are left as they were.

    Raises:
        ValueError: when no episode is long enough.
    """
    starts = _starts(episodes, context + horizon, sequences)
    moving = {
        index: moving_pixels(torch.from_numpy(episodes[index].obs))
        for index in {index for index, _ in starts}
    }
    errors = []
    device = next(world_model.parameters()).device
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        for index, start in starts:
            errors.append(
                _one(world_model, episodes[index], moving[index], context, horizon, start)
            )
    groups = np.array([index for index, _ in starts])
    if len(np.unique(groups)) == 1:
        groups = np.arange(len(starts))
    bands = {
        measure: {
            name: bootstrap_band(
                torch.stack([getattr(error[name], measure) for error in errors]).double().numpy(),
                groups=groups,
            )
            for name in (MODEL, COPY, EMPTY)
            if name != EMPTY or measure in _PICTURE
        }
        for measure in _Errors._fields
    }
    return OpenLoopError(**bands, sequences=len(starts), context=context)


def _starts(episodes: Sequence[Episode], rows: int, count: int) -> list[tuple[int, int]]:
    every = [
        (index, start)
        for index, episode in enumerate(episodes)
        for start in range(episode.rows - rows + 1)
    ]
    if not every:
        longest = max((episode.rows for episode in episodes), default=0)
        raise ValueError(
            f"no episode has {rows} frames (the longest has {longest}): choose a smaller --horizon"
        )
    chosen = np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int)
    return [every[i] for i in chosen]


def _one(
    world_model: WorldModel,
    episode: Episode,
    moving: Tensor,
    context: int,
    horizon: int,
    start: int,
) -> dict[str, _Errors]:
    device = next(world_model.parameters()).device
    obs, action, is_first = stretch(episode, context, horizon, start)
    seen = world_model.observe(
        obs[:, :context].to(device),
        action[:, :context].to(device),
        is_first[:, :context].to(device),
    )
    last = select_state(seen.posterior, (slice(None), -1))
    dream = world_model.rollout(last, action[:, context:].to(device))
    feature = dream.feature[0, 1:]
    truth = obs[0, context:]
    rows = slice(start + context, start + context + horizon)
    reward = torch.from_numpy(episode.reward[rows])
    continues = 1 - torch.from_numpy(episode.is_terminal[rows]).float()
    copied = obs[0, context - 1].expand_as(truth)
    empty = torch.from_numpy(episode.obs).median(0).values.expand_as(truth)
    seen_reward = torch.full_like(reward, float(episode.reward[start + context - 1]))
    dreamt = world_model.decode(feature).cpu()
    probability = world_model.continues(feature).cpu()
    predicted, certain = dream.reward[0].cpu(), torch.ones(horizon)
    shown = moving[rows]
    return {
        MODEL: _errors(truth, dreamt, shown, reward - predicted, continues - probability),
        COPY: _errors(truth, copied, shown, reward - seen_reward, continues - certain),
        EMPTY: _errors(truth, empty, shown, reward - seen_reward, continues - certain),
    }


def _errors(
    truth: Tensor, frames: Tensor, moving: Tensor, reward: Tensor, discontinue: Tensor
) -> _Errors:
    return _Errors(
        to_psnr(squared_error(truth, frames)),
        ssim(truth, frames),
        to_psnr(masked_squared_error(truth, frames, moving)),
        reward.abs(),
        discontinue.abs(),
    )


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 5) for value in values]
