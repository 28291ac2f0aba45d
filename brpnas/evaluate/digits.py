"""The images of the embedded table: scikit-learn's digits, made harder by distortions."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits

from brpnas.evaluate.images import Images, Split

__all__ = ["DESCRIPTION", "distorted_digits"]

DESCRIPTION = (
    "800 training, 500 x 4 validation and 497 x 4 test images of 8 x 8 pixels; each is turned by "
    "up to 30 degrees, scaled by up to 15%, sheared by up to 0.2 and shifted by up to one pixel, "
    "always in the same way (numpy's default generator, seed 0); no digit is in two parts"
)

_TRAIN, _VALID = 800, 500  # of 1,797 images; the rest is the test part
_COPIES = 4  # each validation and test image is seen under so many distortions


@functools.cache
def distorted_digits() -> Split:
    """Return the digits as `DESCRIPTION` says."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits.target))
    images, classes = digits.images[order] / 16.0, digits.target[order].astype(np.int64)

    def part(rows: slice, copies: int) -> Images:
        x = np.concatenate([_distort(images[rows], rng) for _ in range(copies)])
        return Images(x, np.tile(classes[rows], copies))

    return Split(
        train=part(slice(_TRAIN), 1),
        valid=part(slice(_TRAIN, _TRAIN + _VALID), _COPIES),
        test=part(slice(_TRAIN + _VALID, None), _COPIES),
    )


def _distort(images: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Distort images (n, 8, 8) in [0, 1]; return (n, 8, 8, 1), uint8."""
    centre = np.array([3.5, 3.5])
    distorted = []
    for image in images:
        angle = np.deg2rad(rng.uniform(-30, 30))
        scale = 1 + rng.uniform(-0.15, 0.15)
        shear = rng.uniform(-0.2, 0.2)
        shift = rng.uniform(-1, 1, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.array([[1, shear], [0, 1]]) * scale
        offset = centre - matrix @ centre + shift
        distorted.append(affine_transform(image, matrix, offset=offset, order=1))
    pixels: NDArray[np.uint8] = np.rint(np.clip(np.stack(distorted), 0, 1) * 255).astype(np.uint8)
    return pixels[..., None]
