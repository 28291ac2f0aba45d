from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from brpnas.errors import UserError
from brpnas.images import CIFAR10, IMAGENET, ImageSet, Normalisation, parse_normalisation

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (7, 4, 6, 3), np.uint8)
Y = np.arange(7) % 3


def test_tensors_are_normalised_and_channels_come_first() -> None:
    images = ImageSet("a.npz", X, Y)
    x = images.tensor(IMAGENET)
    assert (x.shape, x.dtype) == ((7, 3, 4, 6), torch.float32)
    for channel in range(3):
        expected = (X[2, 1, 5, channel] / 255 - IMAGENET.mean[channel]) / IMAGENET.std[channel]
        assert x[2, channel, 1, 5].item() == pytest.approx(expected, abs=1e-5)
    assert torch.equal(torch.cat(list(images.batches(3, IMAGENET))), x)
    assert [len(part) for part in images.batches(3, IMAGENET)] == [3, 3, 1]
    scaled = ImageSet("b.npz", X / 255).tensor(IMAGENET)  # the same images as floats
    assert torch.allclose(scaled, x, atol=1e-5)


def test_floats_may_be_fed_as_they_are() -> None:
    x = RNG.standard_normal((2, 3, 3, 1))
    assert np.allclose(ImageSet("a", x).tensor(None).numpy()[:, 0], x[..., 0])


def test_rows_and_samples() -> None:
    images = ImageSet("a", X, Y)
    taken = images.take(np.array([4, 1]))
    assert taken.y is not None
    assert np.array_equal(taken.x, X[[4, 1]])
    assert taken.y.tolist() == [1, 1]
    few, again, other = (images.sample(4, seed) for seed in (0, 0, 1))
    assert len(few) == 4
    assert np.array_equal(few.x, again.x)
    assert not np.array_equal(few.x, other.x)
    assert images.sample(7, 0) is images


def nan() -> Any:
    x = np.zeros((5, 4, 4, 1), np.float32)
    x[3, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[..., 0], None, r"\(n, height, width, channels\).*uint8 of shape \(7, 4, 6\)"),
        (X.astype(np.int64), None, "must be uint8 or float .* int64"),
        (X[:0], None, r"at least one.*\(0, 4, 6, 3\)"),
        (nan(), None, "NaN or infinity in 1 of 5 images, first in image 3"),
        (np.full((1, 2, 2, 1), 1e300), None, "NaN or infinity in 1 of 1"),  # not in float32
        (X, Y[:-1], r"one integer for each of the 7 images; 'y' is int64 of shape \(6,\)"),
        (X, Y / 2, "'y' is float64"),
        (X, Y - 1, "class -1; classes are counted from 0"),
    ],
)
def test_arrays_of_another_kind(x: Any, y: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ImageSet("a.npz", x, y)
    assert str(caught.value).startswith("a.npz: ")


@pytest.mark.parametrize(
    ("x", "normalisation", "message"),
    [
        (X, None, "uint8 images need a normalisation"),
        (X[..., :1], CIFAR10, r"shape \(4, 6, 1\).*normalisation is of 3 channels"),
        (X.astype(float), CIFAR10, "values from 0 to 255; accepted are uint8, float in 0 .. 1"),
        (X / 255 - 0.5, CIFAR10, "values from -0.5 to 0.5"),
    ],
)
def test_images_that_cannot_be_normalised(x: Any, normalisation: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageSet("a.npz", x).batches(2, normalisation)  # at once, not at the first batch


def test_normalisations_as_users_write_them() -> None:
    assert parse_normalisation("imagenet") == IMAGENET
    assert parse_normalisation("none") is None
    for one in (CIFAR10, Normalisation((0.5,), (0.25,))):
        assert parse_normalisation(str(one)) == one


@pytest.mark.parametrize(
    "text", ["imagnet", "", "0.5", "0.5/0", "0.5/-1", "nan/1", "0.5,0.5/0.5", "1/2/3", "a/b"]
)
def test_what_is_no_normalisation(text: str) -> None:
    with pytest.raises(UserError, match=r"normalisation '"):
        parse_normalisation(text)
