"""Frames to a video file that plays everywhere, and back."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from worldmodels.replay.files import whole_file


class Video(NamedTuple):
    """What a file holds: RGB frames 0..255, and frames per second."""

    frames: UInt8[np.ndarray, "T h w 3"]
    fps: float


def write_video(path: Path | str, frames: UInt8[np.ndarray, "T h w 3"], fps: float) -> None:
    """Writes RGB frames as .mp4 (H.264), .gif or .webp, in full or not at all.

    An mp4 with an odd height or width gains a copy of its last row or column, because its colours
    are stored for blocks of 2x2 pixels. Gifs cannot show more than 50 frames per second: above
    that, frames are left out and the speed stays right. Gifs and webps play in a loop.

    Args:
        path: the file; its suffix chooses the format, its folder is made.
        frames: one picture per time step, 0..255.
        fps: frames per second.

    Raises:
        ValueError: for an unknown suffix, no frames, or ``fps`` not above 0.
    """
    path = check_video_path(path)
    if not frames.size:
        raise ValueError(f"frames for '{path}' have shape {frames.shape}: give at least one pixel")
    if not fps > 0:
        raise ValueError(f"fps={fps}: give a number of frames per second above 0")
    with whole_file(path) as temporary:
        _WRITERS[path.suffix.lower()](temporary, frames, fps)


def check_video_path(path: Path | str) -> Path:
    """The path, if its suffix is one that can be written: ask before long work.

    Raises:
        ValueError: for an unknown suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"video path '{path}' must end in {', '.join(_WRITERS)}")
    return path


def read_video(path: Path | str) -> Video:
    """Reads a file that ``write_video`` wrote."""
    path = Path(path)
    return _read_mp4(path) if path.suffix.lower() == ".mp4" else _read_picture(path)


def _write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    height, width = frames.shape[1:3]
    pad = ((0, height % 2), (0, width % 2), (0, 0))
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        # Untagged colours are guessed from the picture's size, differently by each player.
        stream.color_range, stream.colorspace = ColorRange.MPEG, Colorspace.ITU709
        stream.color_primaries, stream.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        stream.options = {"crf": "16", "preset": "medium", "tune": "animation"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.pad(frame, pad, mode="edge"), format="rgb24")
            container.mux(stream.encode(_to_yuv(picture)))
        container.mux(stream.encode())


def _to_yuv(picture: av.VideoFrame) -> av.VideoFrame:
    return picture.reformat(
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        dst_color_primaries=ColorPrimaries.BT709,
        dst_color_trc=ColorTrc.BT709,
    )


def _write_gif(path: Path, frames: np.ndarray, fps: float) -> None:
    skip = ceil(fps / 50)
    frames = frames[::skip]
    # One palette for all frames, so that still areas do not flicker, taken from a few of them;
    # and no dithering: its noise would look like the model's.
    few = Image.fromarray(np.concatenate(frames[:: ceil(len(frames) / 8)]))
    palette = few.quantize(256, dither=Image.Dither.NONE)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    _save_loop(path, pictures, _durations(len(pictures), fps / skip, unit=10))


def _write_webp(path: Path, frames: np.ndarray, fps: float) -> None:
    pictures = [Image.fromarray(frame) for frame in frames]
    _save_loop(path, pictures, _durations(len(pictures), fps, unit=1))


def _save_loop(path: Path, pictures: list[Image.Image], milliseconds: list[int]) -> None:
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
        quality=90,  # of webp; a gif is exact but for its palette
    )


def _durations(count: int, fps: float, unit: int) -> list[int]:
    """How long each frame is shown, in milliseconds, as multiples of ``unit``.

    The end of every frame is rounded, rather than its duration, so that errors never add up.
    """
    ends = np.rint(np.arange(count + 1) * 1000 / fps / unit).astype(int) * unit
    return np.maximum(np.diff(ends), unit).tolist()


_WRITERS: dict[str, Callable[[Path, np.ndarray, float], None]] = {
    ".mp4": _write_mp4,
    ".gif": _write_gif,
    ".webp": _write_webp,
}


def _read_mp4(path: Path) -> Video:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return Video(np.stack(pictures), float(rate or 0))


def _read_picture(path: Path) -> Video:
    with Image.open(path) as file:
        pictures, milliseconds = [], []
        for picture in ImageSequence.Iterator(file):
            pictures.append(np.asarray(picture.convert("RGB")))
            milliseconds.append(picture.info["duration"])
    return Video(np.stack(pictures), 1000 * len(pictures) / sum(milliseconds))
