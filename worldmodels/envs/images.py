"""An environment's frames as uint8 images ``C h w`` of the wanted size and channels."""

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from jaxtyping import Shaped, UInt8
from PIL import Image

from worldmodels.types import ObsShape

# Smaller arrays of bytes are maps or symbols (MiniGrid's 7x7x3 view), not pictures.
_SMALLEST = 16


class ImageSource(NamedTuple):
    """Where an environment's image is: in the observation (under ``key``), or in ``render()``."""

    rendered: bool
    key: str | None

    def __str__(self) -> str:
        if self.rendered:
            return "render()"
        return "the observation" if self.key is None else f"the observation's '{self.key}'"

    def of(self, obs: Any) -> Any:
        """The image inside an observation (or a batch of images inside a batch)."""
        return obs if self.key is None else obs[self.key]


def find_image(space: spaces.Space, obs_key: str | None, name: str) -> ImageSource:
    """Finds the image in an observation space; ``render()`` when there is none.

    An image is a Box of bytes (or of floats from 0 to 1) of shape (h, w), (h, w, C) or (C, h, w)
    with 1 or 3 channels and at least 16 pixels a side.

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


class ImageShaper:
    """Turns raw frames into ``C h w`` bytes of one shape, and refuses frames that change.

    A frame of the wanted size is only copied. Any other goes through Pillow's box filter: every
    output pixel is the mean of the pixels whose centres it covers, so each of them counts once and
    small moving things (a ball of two pixels) fade but never blink. Whole factors take Pillow's
    ``reduce``, the same mean at twice the speed; both are ten times as fast as means in numpy, and
    twice as fast as a smoother filter.

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
        image = _resized(self._to_bytes(_to_hwc(frame)), *self.obs_shape[1:])
        image = _with_channels(image, self.obs_shape[0])
        return np.array(image.transpose(2, 0, 1), order="C", copy=True)

    def batch(self, frames: Shaped[np.ndarray, "N ..."]) -> UInt8[np.ndarray, "N C h w"]:
        """Frames of N environments, always a new array."""
        channels, height, width = self.obs_shape
        if frames.dtype != np.uint8 or frames.shape[1:] != (height, width, channels):
            return np.stack([self(frame) for frame in frames])
        # The right size already: one copy of the batch, no loop over the environments.
        self._check(frames[0])
        return np.array(frames.transpose(0, 3, 1, 2), order="C", copy=True)

    def _check(self, frame: np.ndarray) -> None:
        if self._raw is None:
            if not _image_shape(frame.shape):
                raise ValueError(
                    f"{self.name} gave a frame of shape {frame.shape}: an image is (h, w), "
                    "(h, w, C) or (C, h, w) with 1 or 3 channels (no stack of frames)"
                )
            if frame.dtype != np.uint8 and not np.issubdtype(frame.dtype, np.floating):
                raise ValueError(
                    f"{self.name} gave a frame of {frame.dtype}: use uint8, or floats from 0 to 1"
                )
            self._raw = (frame.shape, frame.dtype)
        if (frame.shape, frame.dtype) != self._raw:
            raise ValueError(
                f"{self.name} changed its frame from {self._raw[1]} {self._raw[0]} to "
                f"{frame.dtype} {frame.shape}: fix the environment, every frame must be alike"
            )

    def _to_bytes(self, image: np.ndarray) -> np.ndarray:
        if image.dtype == np.uint8:
            return image
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(
                f"{self.name} gave a {image.dtype} frame from {image.min():g} to {image.max():g}: "
                "floats are pixels from 0 to 1; for 0 to 255 use uint8"
            )
        return np.rint(image * 255).astype(np.uint8)


def _is_image(space: spaces.Space) -> bool:
    if not isinstance(space, spaces.Box) or not _image_shape(space.shape):
        return False
    if space.dtype == np.uint8:
        return True
    floats = np.issubdtype(space.dtype, np.floating)
    return bool(floats and space.low.min() == 0 and space.high.max() == 1)


def _image_shape(shape: tuple[int, ...]) -> bool:
    if len(shape) == 3:
        if shape[-1] in (1, 3):
            shape = shape[:2]
        elif shape[0] in (1, 3):
            shape = shape[1:]
    return len(shape) == 2 and min(shape) >= _SMALLEST


def _to_hwc(frame: np.ndarray) -> np.ndarray:
    if frame.ndim == 2:
        return frame[..., None]
    return frame if frame.shape[-1] in (1, 3) else frame.transpose(1, 2, 0)


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns, channels = image.shape
    if (rows, columns) == (height, width):
        return image
    picture = Image.fromarray(image[..., 0] if channels == 1 else np.ascontiguousarray(image))
    if rows % height == 0 and columns % width == 0:
        picture = picture.reduce((columns // width, rows // height))
    else:
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture).reshape(height, width, channels)


def _with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, -1)
    # Luma of ITU-R BT.601, as every image library uses for grey.
    return np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
