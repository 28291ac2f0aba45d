"""Images in memory, and as the tensors that a network takes: the noun ImageSet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brpnas.errors import UserError
from brpnas.images.normalisation import Normalisation

__all__ = ["ImageSet"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size and, where they are known, what they show.

    Attributes:
        name: the file or folder that they come from, for errors.
        x: images, shape (n, height, width, channels), uint8 or float32.
        y: classes, shape (n,), integers from 0; None where they are not known.
        class_names: the names that the numbers in ``y`` stand for, where a folder gives them.

    Raises:
        UserError: arrays of another kind or shape, no images, NaN, negative classes.
    """

    name: str
    x: NDArray[Any]
    y: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        x = self.x
        if x.ndim != 4 or 0 in x.shape or not (x.dtype == np.uint8 or x.dtype.kind == "f"):
            raise UserError(
                f"{self.name}: images must be uint8 or float of shape (n, height, width, "
                f"channels), at least one; 'x' is {x.dtype} of shape {x.shape}"
            )
        if x.dtype != np.uint8:
            with np.errstate(over="ignore"):  # reported below
                object.__setattr__(self, "x", x.astype(np.float32, copy=False))
            bad = ~np.isfinite(self.x).all((1, 2, 3))
            if bad.any():
                raise UserError(
                    f"{self.name}: NaN or infinity in {bad.sum():,} of {len(x):,} images, first "
                    f"in image {bad.argmax()}"
                )
        if self.y is not None:
            object.__setattr__(self, "y", self._checked(self.y))

    def _checked(self, y: NDArray[Any]) -> NDArray[np.int64]:
        if y.shape != self.x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
            raise UserError(
                f"{self.name}: classes must be one integer for each of the {len(self):,} images; "
                f"'y' is {y.dtype} of shape {y.shape}"
            )
        if y.min() < 0:
            raise UserError(f"{self.name}: class {y.min()}; classes are counted from 0")
        return y.astype(np.int64)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray[np.int64]) -> ImageSet:
        """Return the images of these rows."""
        return ImageSet(
            self.name, self.x[rows], None if self.y is None else self.y[rows], self.class_names
        )

    def sample(self, count: int, seed: int) -> ImageSet:
        """Return so many random images, or all of them where there are no more, in their order."""
        if count >= len(self):
            return self
        rows = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self.take(np.sort(rows))

    def check(self, normalisation: Normalisation | None) -> None:
        """See to it that the images can be normalised so.

        Args:
            normalisation: what the network expects; None: that images are fed as they are.

        Raises:
            UserError: another number of channels, or a range that pixels do not have.
        """
        channels = self.x.shape[3]
        if normalisation is None:
            if self.x.dtype == np.uint8:
                raise UserError(
                    f"{self.name}: uint8 images need a normalisation, such as 0.5,0.5,0.5/"
                    "0.5,0.5,0.5 (means/deviations); 'none' is for images of floats, and none is "
                    "known of the network"
                )
            return
        if channels != len(normalisation.mean):
            raise UserError(
                f"{self.name}: images of shape {self.x.shape[1:]} (height, width, channels), but "
                f"the normalisation is of {len(normalisation.mean)} channels"
            )
        if self.x.dtype != np.uint8:
            low, high = float(self.x.min()), float(self.x.max())
            if low < 0 or high > 1:
                raise UserError(
                    f"{self.name}: values from {low:.4g} to {high:.4g}; accepted are uint8, float "
                    "in 0 .. 1, or any float with normalisation 'none'"
                )

    def tensor(self, normalisation: Normalisation | None) -> Tensor:
        """Return all images normalised, shape (n, channels, height, width), float32.

        Args:
            normalisation: see `check`.

        Raises:
            UserError: see `check`.
        """
        self.check(normalisation)
        return self._tensor(slice(None), normalisation)

    def batches(self, size: int, normalisation: Normalisation | None) -> Iterator[Tensor]:
        """Return what `tensor` does in parts of up to ``size`` images, one in memory at a time.

        Raises:
            UserError: see `check`; at once, not at the first batch.
        """
        self.check(normalisation)
        starts = range(0, len(self), size)
        return (self._tensor(slice(start, start + size), normalisation) for start in starts)

    def _tensor(self, rows: slice, normalisation: Normalisation | None) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(self.x[rows].transpose(0, 3, 1, 2)))
        x = x / 255 if x.dtype == torch.uint8 else x
        if normalisation is None:
            return x
        mean = torch.tensor(normalisation.mean).view(-1, 1, 1)
        return (x - mean) / torch.tensor(normalisation.std).view(-1, 1, 1)
