"""Pictures while a run goes on: how far the model's dream of an episode can be trusted by now."""

from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
from jaxtyping import UInt8
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL import Image

from worldmodels.behaviours.model_free import dreams
from worldmodels.evaluation import imagine_episode
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.episode import Episode
from worldmodels.training.callbacks import evaluating
from worldmodels.training.metrics import Metrics
from worldmodels.training.module import WorldModelModule
from worldmodels.viz.dream import DreamRecord
from worldmodels.viz.panels import dream_panels
from worldmodels.viz.strip import dream_strip
from worldmodels.viz.video import write_video

TAG = "dream"


class Panel(NamedTuple):
    """One dream as a picture and as a file with its video."""

    strip: UInt8[np.ndarray, "y x 3"]
    video: Path


class Panels(L.Callback):
    """Shows the loggers that take pictures a dream of the newest episode, at the end of a round.

    The model sees ``context`` frames and dreams on under the true actions. The video is also kept
    as ``media/dream-<update>.gif`` of the run. Without such a logger, or without a model of the
    world, nothing is drawn. Dreams draw no noise from the run's own generators, so a run is the
    same with and without panels.

    Args:
        metrics: the loggers' axis, and the clock.
        buffer: whose newest episode is dreamt.
        folder: where the videos go.
        every: rounds between panels (0: never); the last round has one too.
        context: frames seen; fewer where the episode is shorter.
        horizon: steps dreamt; fewer where the episode is shorter.

    Raises:
        ValueError: when a number is too small.
    """

    def __init__(
        self,
        metrics: Metrics,
        buffer: ReplayBuffer,
        folder: Path,
        every: int = 10,
        context: int = 5,
        horizon: int = 45,
    ):
        lowest = {"every": (every, 0), "context": (context, 1), "horizon": (horizon, 1)}
        for name, (value, least) in lowest.items():
            if value < least:
                raise ValueError(f"panels.{name}={value}: choose {least} or more")
        self.metrics, self.buffer, self.folder = metrics, buffer, folder
        self.every, self.context, self.horizon = every, context, horizon

    def on_train_epoch_end(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Every ``every`` rounds, and after the last."""
        done = trainer.current_epoch + 1
        due = self.every and (done % self.every == 0 or done == trainer.max_epochs)
        shown = [logger for logger in trainer.loggers if takes_pictures(logger)]
        if due and shown and trainer.is_global_zero and dreams(module.world_model):
            with self.metrics.clock.spent("log"):
                panel = self._draw(module)
                for logger in shown:
                    show(logger, panel, self.metrics.step())

    def _draw(self, module: WorldModelModule) -> Panel:
        spec = self.buffer.store.spec
        with evaluating(module):
            dream = self._dream(module)
        video = self.folder / f"dream-{module.update:09d}.gif"
        write_video(video, dream_panels(dream, title=spec.env), spec.frame_rate)
        return Panel(dream_strip(dream), video)

    def _dream(self, module: WorldModelModule) -> DreamRecord:
        episode = self._newest()
        # An episode has two frames or more: one to see, one to dream.
        context = min(self.context, episode.rows - 1)
        horizon = min(self.horizon, episode.rows - context)
        return imagine_episode(module.world_model, episode, context, horizon)

    def _newest(self) -> Episode:
        store = self.buffer.store
        read = (store.read(record) for record in reversed(tuple(store.records)))
        # Training sampled from some of them, so one is readable.
        return next(episode for episode in read if episode is not None)


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
