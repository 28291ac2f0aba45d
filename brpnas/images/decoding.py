"""Compressed images to pixels of one size."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from brpnas.errors import UserError, one_line

__all__ = ["FORMATS", "Pixels", "decode_all"]

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of what is read."""

_MODES = {1: "L", 3: "RGB"}
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L")
"""Pillow's modes of more than 8 bits, which it would clip."""


@dataclass(frozen=True)
class Pixels:
    """How images are to come out.

    Attributes:
        channels: 3, or 1 for grey.
        size: height and width; an image of another size is scaled (bicubic) until it covers them,
            and what protrudes is cut off on both sides alike. None: as they are, all alike.

    Raises:
        UserError: another number of channels.
    """

    channels: int = 3
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.channels not in _MODES:
            raise UserError(
                f"compressed images have 1 or 3 channels, the network takes {self.channels}: give "
                "it an .npz file"
            )

    def decode(self, content: bytes, name: str) -> NDArray[np.uint8]:
        """Return one image, shape (height, width, channels).

        Args:
            content: of a file in one of FORMATS.
            name: of the image, for errors.

        Raises:
            UserError: it cannot be read.
        """
        try:
            with warnings.catch_warnings():
                # A small file may unpack into gigabytes.
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
                if image.mode in _DEEP:
                    raise UserError(f"{name}: more than 8 bits for each channel")
                image = image.convert(_MODES[self.channels])
        except UserError:
            raise
        except Exception as error:  # Pillow's readers raise nearly anything
            raise UserError(
                f"{name}: not a readable image ({_reason(error)}); accepted: {', '.join(FORMATS)}"
            ) from error
        if self.size is not None and image.size != self.size[::-1]:
            image = ImageOps.fit(image, self.size[::-1], Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        return pixels.reshape(*pixels.shape[:2], self.channels)


def _reason(error: Exception) -> str:
    # Pillow names what it was given to read, which here is no file.
    unknown = isinstance(error, UnidentifiedImageError)
    return "of no known format" if unknown else one_line(error)


def decode_all(images: Iterable[tuple[str, bytes]], count: int, pixels: Pixels) -> NDArray[Any]:
    """Decode images, shape (n, height, width, channels), uint8.

    Args:
        images: the name and content of each.
        count: how many there are, at least one.
        pixels: how they are to come out.

    Raises:
        UserError: one that cannot be read, or of another size than the first.
    """
    x: NDArray[np.uint8] | None = None
    for row, (name, content) in enumerate(images):
        image = pixels.decode(content, name)
        if x is None:
            x = np.empty((count, *image.shape), np.uint8)
        if image.shape != x.shape[1:]:
            raise UserError(
                f"{name}: {image.shape[0]} x {image.shape[1]} pixels, the first image has "
                f"{x.shape[1]} x {x.shape[2]}: give a network whose input size is known, or images "
                "of one size"
            )
        x[row] = image
    assert x is not None  # noqa: S101 - there is at least one
    return x
