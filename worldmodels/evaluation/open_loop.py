"""Open-loop error by horizon: how far ahead predictions stay true."""

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
from worldmodels.viz.text import table_text
from worldmodels.world_model import WorldModel

MODEL, COPY, EMPTY = "model", "copy last frame", "empty background"


class OpenLoopError(NamedTuple):
    """Error at each predicted step, of the model and of two baselines that never move on.

    One repeats the last frame and reward that were seen, and expects to continue. The other shows
    the episode's background (each pixel's median over time) and nothing that moves.
    Every measure maps ``"model"``, ``"copy last frame"`` and, where it is about pictures,
    ``"empty background"`` to a band over the H steps, with bootstrap intervals over episodes (over
    sequences where there is only one episode, too narrow then: its sequences overlap). The measures
    of pictures are empty for a model without a decoder.

    Attributes:
        psnr: dB over whole frames.
        ssim: structural similarity.
        moving_psnr: dB over the pixels where something moves (in the truth), which a mean over
            the frame hides.
        reward: absolute error.
        continues: absolute error of the probability of continuing.
        sequences: number of sequences.
        context: frames seen before the prediction.
    """

    psnr: dict[str, Band]
    ssim: dict[str, Band]
    moving_psnr: dict[str, Band]
    reward: dict[str, Band]
    continues: dict[str, Band]
    sequences: int
    context: int

    def __str__(self) -> str:
        return table_text(self.table())

    def panels(self) -> list[Panel]:
        """For ``viz.plots.error_by_horizon``."""
        panels = [
            Panel("Frames", "PSNR (dB)", self.psnr),
            Panel("Moving pixels", "PSNR (dB)", self.moving_psnr),
            Panel("Structure", "SSIM", self.ssim),
            Panel("Reward", "absolute error", self.reward),
            Panel("Continuation", "absolute error", self.continues),
        ]
        return [panel for panel in panels if panel.bands]

    def table(self, steps: Sequence[int] = (1, 5, 15, 45)) -> Table:
        """The model beside the baselines at some horizons."""
        sizes = f"{self.context} frames, {self.sequences} sequences"
        table = Table(title=f"Open-loop error after {sizes}")
        last = len(self.reward[MODEL].mean)
        shown = sorted({step for step in steps if step <= last} | {last})
        table.add_column("measure")
        for step in shown:
            table.add_column(f"step {step}", justify="right")
        names = ("PSNR dB", "moving PSNR dB", "SSIM", "reward error", "continue error")
        values = (self.psnr, self.moving_psnr, self.ssim, self.reward, self.continues)
        for name, bands in zip(names, values, strict=True):
            for who, band in bands.items():
                row = [f"{band.mean[step - 1]:.3g}" for step in shown]
                table.add_row(f"{name}, {who}", *row)
        return table

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        result: dict[str, Any] = {"sequences": self.sequences, "context": self.context}
        for measure in _Errors._fields:
            bands: dict[str, Band] = getattr(self, measure)
            plain = {
                name: {key: _plain(value) for key, value in band._asdict().items()}
                for name, band in bands.items()
            }
            # What a model without a decoder cannot be measured by is left out.
            result |= {measure: plain} if plain else {}
        return result


class _Errors(NamedTuple):
    """Per-sequence values of every measure, H numbers each; None where nothing is drawn."""

    psnr: Tensor | None
    ssim: Tensor | None
    moving_psnr: Tensor | None
    reward: Tensor
    continues: Tensor


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
    """Predicts from many places of recorded episodes and compares with what happened.

    Args:
        world_model: the model.
        episodes: recorded episodes the model was not trained on.
        context: frames seen before each prediction.
        horizon: H, steps of each prediction.
        sequences: how many predictions, spread evenly over all possible starts.
        seed: of the noise; torch's own generators are left as they were.

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
    bands = {measure: _bands(errors, measure, groups) for measure in _Errors._fields}
    return OpenLoopError(**bands, sequences=len(starts), context=context)


def _bands(
    errors: Sequence[dict[str, _Errors]], measure: str, groups: np.ndarray
) -> dict[str, Band]:
    """One measure of the model and of the baselines that it is about."""
    if getattr(errors[0][MODEL], measure) is None:
        return {}
    bands = {}
    for name in (MODEL, COPY, EMPTY) if measure in _PICTURE else (MODEL, COPY):
        values = torch.stack([getattr(error[name], measure) for error in errors])
        bands[name] = bootstrap_band(values.double().numpy(), groups=groups)
    return bands


def _starts(episodes: Sequence[Episode], rows: int, count: int) -> list[tuple[int, int]]:
    every = [
        (index, start)
        for index, episode in enumerate(episodes)
        for start in range(episode.rows - rows + 1)
    ]
    if not every:
        longest = max((episode.rows for episode in episodes), default=0)
        raise ValueError(
            f"no episode has {rows} frames (the longest has {longest}): choose a smaller horizon"
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
    predicted = world_model.predict(last, action[:, context:].to(device))
    feature = predicted.feature[0, 1:]
    truth = obs[0, context:]
    rows = slice(start + context, start + context + horizon)
    reward = torch.from_numpy(episode.reward[rows])
    continues = 1 - torch.from_numpy(episode.is_terminal[rows]).float()
    copied = obs[0, context - 1].expand_as(truth)
    empty = torch.from_numpy(episode.obs).median(0).values.expand_as(truth)
    seen_reward = torch.full_like(reward, float(episode.reward[start + context - 1]))
    drawn = None if world_model.decoder is None else world_model.decode(feature).cpu()
    probability = world_model.continues(feature).cpu()
    model_reward, certain = predicted.reward[0].cpu(), torch.ones(horizon)
    shown = moving[rows]
    return {
        MODEL: _errors(truth, drawn, shown, reward - model_reward, continues - probability),
        COPY: _errors(truth, copied, shown, reward - seen_reward, continues - certain),
        EMPTY: _errors(truth, empty, shown, reward - seen_reward, continues - certain),
    }


def _errors(
    truth: Tensor, frames: Tensor | None, moving: Tensor, reward: Tensor, continues: Tensor
) -> _Errors:
    if frames is None:
        return _Errors(None, None, None, reward.abs(), continues.abs())
    return _Errors(
        to_psnr(squared_error(truth, frames)),
        ssim(truth, frames),
        to_psnr(masked_squared_error(truth, frames, moving)),
        reward.abs(),
        continues.abs(),
    )


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 5) for value in values]
