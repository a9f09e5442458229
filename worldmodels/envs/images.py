"""Whatever an environment shows, as uint8 images ``C h w`` of the wanted size and channels."""

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from jaxtyping import Shaped, UInt8
from PIL import Image

from worldmodels.types import ObsShape


class ImageSource(NamedTuple):
    """Where an environment's image is: in the observation (under ``key``), or in ``render()``."""

    rendered: bool
    key: str | None


def find_image(space: spaces.Space, obs_key: str | None, name: str) -> ImageSource:
    """Finds the image in an observation space; ``render()`` when there is none.

    Args:
        space: of one environment's observation.
        obs_key: the key to use of a Dict space.
        name: the environment's id, for messages.

    Raises:
        ValueError: when ``obs_key`` does not name an image, or several keys do and none is given.
    """
    if not isinstance(space, spaces.Dict):
        if obs_key is not None:
            raise ValueError(
                f"obs_key='{obs_key}': {name} observes a {type(space).__name__}, no Dict; leave "
                "obs_key out"
            )
        return ImageSource(not _is_image(space), None)
    images = [key for key, value in space.items() if _is_image(value)]
    if obs_key is not None:
        if obs_key not in images:
            raise ValueError(
                f"obs_key='{obs_key}' is no image of {name}: choose one of {images or 'none'}"
            )
        return ImageSource(False, obs_key)
    if len(images) > 1:
        raise ValueError(f"{name} observes several images {images}: choose one with obs_key")
    return ImageSource(not images, images[0] if images else None)


def _is_image(space: spaces.Space) -> bool:
    if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3):
        return False
    byte = space.dtype == np.uint8
    unit = (
        np.issubdtype(space.dtype, np.floating) and space.low.min() == 0 and space.high.max() == 1
    )
    sides = space.shape if len(space.shape) == 2 else sorted(space.shape)[1:]
    return (byte or bool(unit)) and min(sides) >= 16


class ImageShaper:
    """Turns raw frames into ``C h w`` bytes of one shape, and refuses frames that change.

    A frame that has the wanted size is not touched. One that is a whole multiple is averaged over
    squares in numpy (every pixel counts, no aliasing); any other goes through Pillow's box filter,
    which does the same for uneven sizes.

    Args:
        obs_shape: the wanted ``(C, h, w)``.
        name: the environment's id, for messages.
    """

    def __init__(self, obs_shape: ObsShape, name: str):
        self.obs_shape, self.name = obs_shape, name
        self._raw: tuple[tuple[int, ...], np.dtype] | None = None

    def __call__(self, frame: Any) -> UInt8[np.ndarray, "C h w"]:
        """One frame, always a new array.

        Raises:
            ValueError: when it is no image, or differs in shape or type from the first one.
        """
        frame = np.asarray(frame)
        self._check(frame)
        image = _to_bytes(_to_hwc(frame))
        height, width = self.obs_shape[1:]
        if image.shape[:2] != (height, width):
            image = _resized(image, height, width)
        image = _with_channels(image, self.obs_shape[0])
        return np.array(image.transpose(2, 0, 1), order="C", copy=True)

    def batch(self, frames: Shaped[np.ndarray, "N ..."]) -> UInt8[np.ndarray, "N C h w"]:
        """Frames of N environments; nothing but the axes moves where the size fits already."""
        self._check(frames[0])
        _, height, width = self.obs_shape
        if frames.dtype == np.uint8 and frames.shape[1:] == (height, width, self.obs_shape[0]):
            return np.array(frames.transpose(0, 3, 1, 2), order="C", copy=True)
        return np.stack([self(frame) for frame in frames])

    def _check(self, frame: np.ndarray) -> None:
        raw = (frame.shape, frame.dtype)
        if self._raw is None:
            channels = (1, 3, 4)
            flat = frame.ndim == 2
            solid = frame.ndim == 3 and (frame.shape[-1] in channels or frame.shape[0] in channels)
            if not flat and not solid:
                raise ValueError(
                    f"{self.name} gave a frame of shape {frame.shape}: an image is (h, w), "
                    "(h, w, C) or (C, h, w)"
                )
            self._raw = raw
        if raw != self._raw:
            raise ValueError(
                f"{self.name} changed its frame from {self._raw[1]} {self._raw[0]} to "
                f"{frame.dtype} {frame.shape}: fix the environment, every frame must be alike"
            )


def _to_hwc(frame: np.ndarray) -> np.ndarray:
    if frame.ndim == 2:
        return frame[..., None]
    if frame.shape[-1] in (1, 3, 4):
        return frame[..., :3]
    return frame.transpose(1, 2, 0)[..., :3]


def _to_bytes(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = image.shape[:2]
    if rows % height == 0 and columns % width == 0:
        squares = image.reshape(height, rows // height, width, columns // width, -1)
        return np.rint(squares.mean((1, 3))).astype(np.uint8)
    layers = [
        Image.fromarray(layer).resize((width, height), Image.Resampling.BOX)
        for layer in np.moveaxis(image, -1, 0)
    ]
    return np.stack([np.asarray(layer) for layer in layers], -1)


def _with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, -1)
    # Luma of ITU-R BT.601, as every image library uses for grey.
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
