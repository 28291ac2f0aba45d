from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from brpnas.evaluate import digits
from brpnas.evaluate.digits import distorted_digits

SHA256 = "450353499b475f7e4048b89688c63aeb064df027baf8715e417145972335f40c"  # of x and y, each part


def test_images_are_the_same_everywhere() -> None:
    split = distorted_digits()
    assert split.test is not None
    digest = hashlib.sha256()
    for part, count in ((split.train, 800), (split.valid, 2000), (split.test, 1988)):
        assert part.x.shape == (count, 8, 8, 1)
        assert part.x.dtype == np.uint8
        digest.update(part.x.tobytes() + part.y.astype("<i8").tobytes())
    assert digest.hexdigest() == SHA256
    distorted_digits.cache_clear()
    again = distorted_digits()
    assert np.array_equal(again.valid.x, split.valid.x)


def test_no_digit_is_in_two_parts() -> None:
    """The parts are rows 0 to 799, 800 to 1,299 and the rest of one order of all digits."""
    split = distorted_digits()
    assert split.test is not None
    known = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    assert split.train.y.tolist() == known.target[order[:800]].tolist()
    assert split.valid.y.tolist() == known.target[order[800:1300]].tolist() * 4
    assert split.test.y.tolist() == known.target[order[1300:]].tolist() * 4
    # And the images are those digits: each resembles its original more than another one.
    for part, rows in ((split.train, order[:800]), (split.valid, order[800:1300])):
        own = _resemblance(known.images[rows], part.x[: len(rows)])
        foreign = _resemblance(known.images[np.roll(rows, 1)], part.x[: len(rows)])
        assert (own > foreign).mean() > 0.8
        assert own.mean() > foreign.mean() + 0.15


def _resemblance(images: NDArray[np.float64], shown: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Correlation of each pair of images."""
    one = images.reshape(len(images), -1)
    other = shown.reshape(len(shown), -1).astype(np.float64)
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / norms)


def test_copies_are_distorted_differently() -> None:
    valid = distorted_digits().valid.x.reshape(4, 500, 64).astype(float)
    different = np.abs(valid[0] - valid[1]).mean(axis=1)
    assert different.min() > 0
    assert not np.array_equal(valid[2], valid[3])


def test_a_distortion_turns_about_the_centre() -> None:
    """Without shift, what is in the centre stays there, whatever the angle."""
    image = np.zeros((1, 8, 8))
    image[0, 3:5, 3:5] = 1

    class NoShift:
        def __init__(self) -> None:
            self._rng = np.random.default_rng(1)

        def uniform(self, low: float, high: float, size: int | None = None) -> object:
            return np.zeros(2) if size else self._rng.uniform(low, high)

    for _ in range(20):
        (out,) = digits._distort(image, NoShift())  # type: ignore[arg-type]
        rows, columns = np.nonzero(out[..., 0] > 60)
        assert abs(rows.mean() - 3.5) < 0.3
        assert abs(columns.mean() - 3.5) < 0.3
