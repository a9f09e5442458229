"""Pictures while a run goes on: how far the model's dream of an episode can be trusted by now."""

from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL import Image

from worldmodels.evaluation.imagine import imagine_episode
from worldmodels.replay.store import EpisodeStore
from worldmodels.training.module import WorldModelModule
from worldmodels.training.settings import Panels
from worldmodels.viz.panels import dream_panels
from worldmodels.viz.strip import dream_strip
from worldmodels.viz.video import write_video
from worldmodels.world_model import WorldModel

TAG = "dream"


class Panel(NamedTuple):
    """One dream as a picture and as a file with its video."""

    strip: UInt8[np.ndarray, "y x 3"]
    video: Path


def draw_panel(
    module: WorldModelModule, store: EpisodeStore, folder: Path, panels: Panels
) -> Panel | None:
    """A dream of the newest episode; None where the model draws no pictures.

    The model sees ``context`` frames and predicts on under the true actions. The video is kept as
    ``dream-<update>.gif``. Dreams draw no noise from the run's own generators, so a run is the same
    with and without panels.

    Args:
        module: whose world model dreams.
        store: whose newest episode is dreamt.
        folder: where the video goes.
        panels: context and horizon.
    """
    model = module.world_model
    if not isinstance(model, WorldModel) or model.decoder is None:
        return None
    read = (store.read(record) for record in reversed(tuple(store.records)))
    # Training sampled from some of them, so one is readable.
    episode = next(episode for episode in read if episode is not None)
    # An episode has two frames or more: one to see, one to predict.
    context = min(panels.context, episode.rows - 1)
    horizon = min(panels.horizon, episode.rows - context)
    dream = imagine_episode(model, episode, context, horizon)
    video = folder / f"dream-{module.update:09d}.gif"
    write_video(video, dream_panels(dream, title=store.spec.env), store.spec.frame_rate)
    return Panel(dream_strip(dream), video)


def takes_pictures(logger: Logger) -> bool:
    """Whether ``show`` knows what to do with a logger."""
    return show.dispatch(type(logger)) is not show.dispatch(object)


@singledispatch
def show(logger: Logger, panel: Panel, step: int) -> None:
    """Sends a panel to a logger; another kind of logger is one ``show.register`` away."""
    raise TypeError(f"{type(logger).__name__} takes no pictures")


@show.register
def _(logger: TensorBoardLogger, panel: Panel, step: int) -> None:
    # The extra may be missing, so its module is imported where it is used.
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

    writer = logger.experiment
    writer.add_image(f"{TAG}/strip", panel.strip, step, dataformats="HWC")
    # An image of several frames is what TensorBoard plays; its own `add_video` needs moviepy 1.
    with Image.open(panel.video) as file:
        width, height = file.size
    image = Summary.Image(
        height=height,
        width=width,
        colorspace=3,
        encoded_image_string=panel.video.read_bytes(),
    )
    value = Summary.Value(tag=f"{TAG}/video", image=image)
    writer.file_writer.add_summary(Summary(value=[value]), step)


@show.register
def _(logger: WandbLogger, panel: Panel, step: int) -> None:
    logger.log_image(f"{TAG}/strip", [panel.strip], step)
    logger.log_video(f"{TAG}/video", [str(panel.video)], step, format=["gif"])
