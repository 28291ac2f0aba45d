"""Labelled images to train on: the user's own, split into training, validation and test parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.images import read_arrays

__all__ = ["Images", "Split", "read_images", "read_split"]


@dataclass(frozen=True, eq=False)
class Images:
    """Square images and what they show.

    Attributes:
        x: images, shape (n, size, size, channels), uint8.
        y: classes, shape (n,), integers from 0.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> Images:
        """Return the images of these rows."""
        return Images(self.x[rows], self.y[rows])


@dataclass(frozen=True, eq=False)
class Split:
    """What to train on, what to choose by and, where there is one, what to report on."""

    train: Images
    valid: Images
    test: Images | None = None

    @property
    def classes(self) -> int:
        """Number of classes of the training images."""
        return int(self.train.y.max()) + 1


def read_images(path: Path) -> Images:
    """Read ``x`` (uint8, NHWC) and ``y`` (integers) from an ``.npz`` file.

    Raises:
        UserError: no such file, not an ``.npz``, or arrays of another kind, shape or range.
    """
    arrays = read_arrays(path, labels=True)
    x, y = arrays["x"], arrays["y"]
    square = x.ndim == 4 and x.shape[1] == x.shape[2] >= 4 and x.shape[3] > 0
    if x.dtype != np.uint8 or not square:
        raise UserError(
            f"{path}: 'x' must be uint8 of shape (n, size, size, channels), size at least 4; "
            f"it is {x.dtype} of shape {x.shape}"
        )
    if not np.issubdtype(y.dtype, np.integer) or y.shape != x.shape[:1] or not len(y):
        raise UserError(
            f"{path}: 'y' must hold one integer for each of the {len(x)} images; "
            f"it is {y.dtype} of shape {y.shape}"
        )
    if y.min() < 0 or y.max() == y.min():
        raise UserError(f"{path}: 'y' must hold at least two classes, counted from 0")
    return Images(x, y.astype(np.int64))


def read_split(path: Path, test_path: Path | None, valid_fraction: float, seed: int) -> Split:
    """Read a user's images and hold a random part of them back for validation.

    Args:
        path: ``.npz`` file of the training and validation images.
        test_path: ``.npz`` file of the test images, if any.
        valid_fraction: part of the images that is held back, between 0 and 1.
        seed: decides which.

    Raises:
        UserError: see `read_images`; or parts that are empty or do not match.
    """
    images = read_images(path)
    # A fraction that is no number, such as NaN, holds nothing back.
    held_back = round(len(images) * valid_fraction) if 0 < valid_fraction < 1 else 0
    if not 0 < held_back < len(images):
        raise UserError(
            f"a validation fraction of {valid_fraction} leaves {len(images) - held_back} training "
            f"and {held_back} validation images of {path}; both must be at least 1"
        )
    order = np.random.default_rng(seed).permutation(len(images))
    named = len(np.unique(images.y))
    if named != images.y.max() + 1:
        raise UserError(
            f"{path}: 'y' names {named} classes, but its largest is {images.y.max()}: classes are "
            "counted from 0 without gaps"
        )
    test = read_images(test_path) if test_path else None
    if test is not None and test.x.shape[1:] != images.x.shape[1:]:
        raise UserError(
            f"{test_path}: images of shape {test.x.shape[1:]}, "
            f"but {path} holds {images.x.shape[1:]}"
        )
    split = Split(images.take(order[held_back:]), images.take(order[:held_back]), test)
    for name, part in (("validation", split.valid), ("test", split.test)):
        if part is not None and part.y.max() >= split.classes:
            raise UserError(
                f"a {name} image shows class {part.y.max()}, which no training image shows"
            )
    return split
