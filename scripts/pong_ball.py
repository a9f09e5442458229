"""Open-loop error on the pixels of Pong's ball, which a mean over the frame hides.

Usage: python scripts/pong_ball.py RUN DATA [--out FILE.json]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from worldmodels import load
from worldmodels.evaluation import bootstrap_band, imagine_episode
from worldmodels.evaluation.images import masked_squared_error, to_psnr
from worldmodels.replay.store import EpisodeStore
from worldmodels.world_model import WorldModel

CONTEXT, HORIZON = 5, 45
# The playing field of Pong at 64x64, without walls, scores and the columns of the paddles.
ROWS, COLUMNS = slice(12, 58), slice(10, 54)


def ball(frames: np.ndarray) -> np.ndarray:
    """Which pixels show the ball, "T h w": brighter than the field, in every channel."""
    background = np.median(frames, axis=0)
    brighter = (frames.astype(int) - background).min(1) > 25
    mask = np.zeros(brighter.shape, bool)
    mask[:, ROWS, COLUMNS] = brighter[:, ROWS, COLUMNS]
    return mask


def main() -> None:
    """Prints and writes PSNR over the ball's pixels by horizon step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    model = load(options.run).world_model
    assert isinstance(model, WorldModel)
    rows: dict[str, list[np.ndarray]] = {"model": [], "copy": [], "field": [], "seen": []}
    for episode in EpisodeStore(options.data):
        mask = ball(episode.obs)
        field = np.median(episode.obs, axis=0).astype(np.uint8)
        for start in range(60, episode.rows - CONTEXT - HORIZON, 40):
            dream = imagine_episode(model, episode, CONTEXT, HORIZON, start=start)
            part = slice(start + CONTEXT, start + CONTEXT + HORIZON)
            truth = dream.truth[CONTEXT:]
            shown = {
                "model": dream.dream[0],
                "copy": np.broadcast_to(dream.truth[CONTEXT - 1], truth.shape),
                "field": np.broadcast_to(field, truth.shape),
                "seen": dream.reconstruction[CONTEXT:],
            }
            for name, frames in shown.items():
                error = masked_squared_error(
                    torch.from_numpy(truth),
                    torch.from_numpy(np.ascontiguousarray(frames)),
                    torch.from_numpy(mask[part]),
                )
                rows[name].append(to_psnr(error).numpy())
    report: dict[str, object] = {"context": CONTEXT, "dreams": len(rows["model"])}
    for name, values in rows.items():
        report[name] = summary(np.stack(values))
    text = json.dumps(report, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text)


def summary(values: np.ndarray) -> dict[str, list[float]]:
    """Mean and interval at steps 1, 5, 15 and 45, over the dreams that show a ball there."""
    result = {}
    for step in (1, 5, 15, 45):
        there = values[:, step - 1][~np.isnan(values[:, step - 1])]
        band = bootstrap_band(there[:, None].astype(float))
        result[str(step)] = [round(float(v[0]), 2) for v in band]
    return result


if __name__ == "__main__":
    main()
