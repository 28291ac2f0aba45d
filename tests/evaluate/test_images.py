from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brpnas.errors import UserError
from brpnas.evaluate.images import Images, Split, read_images, read_split

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 5, 5, 3), np.uint8)
Y = np.arange(12) % 3


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.uint64])
def test_images_are_read(tmp_path: Path, kind: type[np.integer[Any]]) -> None:
    images = read_images(write(tmp_path / "a.npz", x=X, y=Y.astype(kind), other=np.ones(3)))
    assert np.array_equal(images.x, X)
    assert images.y.tolist() == Y.tolist()
    assert images.y.dtype == np.int64
    assert len(images) == 12
    taken = images.take(np.array([3, 1]))
    assert np.array_equal(taken.x, X[[3, 1]])
    assert taken.y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "expected the arrays 'x' and 'y' .*y"),
        ({"y": Y}, "expected the arrays 'x' and 'y' .*x"),
        ({"x": X / 255, "y": Y}, "'x' must be uint8.*it is float64"),
        ({"x": X[..., 0], "y": Y}, r"'x' must be uint8.*\(12, 5, 5\)"),
        ({"x": X[:, :4], "y": Y}, r"'x' must be .*\(12, 4, 5, 3\)"),
        ({"x": X[:, :3, :3], "y": Y}, "size at least 4"),
        ({"x": X[..., :0], "y": Y}, r"'x' must be .*\(12, 5, 5, 0\)"),
        ({"x": X.transpose(0, 3, 1, 2), "y": Y}, r"\(n, size, size, channels\)"),
        ({"x": X, "y": Y.astype(float)}, "'y' must hold one integer for each of the 12 images"),
        ({"x": X, "y": Y[:-1]}, r"it is int64 of shape \(11,\)"),
        ({"x": X, "y": np.eye(3, dtype=int)[Y]}, r"shape \(12, 3\)"),  # one-hot
        ({"x": X[:0], "y": Y[:0]}, "0 images"),
        ({"x": X, "y": Y - 1}, "two classes, counted from 0"),
        ({"x": X, "y": np.ones(12, int)}, "two classes"),
        ({"x": X, "y": np.array([object()] * 12)}, "not a readable .npz"),  # a pickle: not loaded
    ],
)
def test_arrays_of_another_kind(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "images.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        read_images(path)
    assert str(caught.value).startswith(str(path))


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    with pytest.raises(UserError, match="no such file"):
        read_images(path)
    with pytest.raises(UserError, match="not a readable"):
        read_images(tmp_path)
    for content in (b"", b"nonsense", b"PK\x03\x04 cut off", b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a readable"):
            read_images(path)
    np.save(tmp_path / "single.npy", X)
    with pytest.raises(UserError, match="not a readable"):
        read_images(tmp_path / "single.npy")


def test_damaged_files_are_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez_compressed(path, x=X, y=Y)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for length in rng.integers(0, len(whole), 100):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_images(path)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_images(path)
        except UserError:
            refused += 1
    assert refused > 200


def test_split_holds_a_random_part_back(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.uint8).repeat(25).reshape(12, 5, 5, 1)
    path = write(tmp_path / "a.npz", x=x, y=Y)
    split = read_split(path, None, 0.25, seed=1)
    assert (len(split.train), len(split.valid), split.test) == (9, 3, None)
    numbers = [*split.train.x[:, 0, 0, 0].tolist(), *split.valid.x[:, 0, 0, 0].tolist()]
    assert sorted(numbers) == list(range(12))
    assert [int(y) for y in (*split.train.y, *split.valid.y)] == [n % 3 for n in numbers]
    again, other = read_split(path, None, 0.25, seed=1), read_split(path, None, 0.25, seed=2)
    assert np.array_equal(split.valid.x, again.valid.x)
    assert not np.array_equal(split.valid.x, other.valid.x)
    assert split.classes == 3


def test_split_with_test_images(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x=X, y=Y)
    split = read_split(path, write(tmp_path / "t.npz", x=X[:4], y=Y[:4]), 0.5, seed=0)
    assert split.test is not None
    assert np.array_equal(split.test.x, X[:4])


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.01, 0.99, -0.5, 1.5, np.nan, np.inf])
def test_fraction_that_leaves_a_part_empty(tmp_path: Path, fraction: float) -> None:
    path = write(tmp_path / "a.npz", x=X, y=Y)
    with pytest.raises(UserError, match=f"fraction of {fraction} leaves .*both must be at least 1"):
        read_split(path, None, fraction, seed=0)


def test_classes_have_no_gaps(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x=X, y=1_000_000 * Y)
    with pytest.raises(UserError, match="names 3 classes, but its largest is 2000000"):
        read_split(path, None, 0.25, seed=0)


def test_parts_that_do_not_match(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x=X, y=Y)
    small = write(tmp_path / "small.npz", x=X[:, :4, :4], y=Y)
    with pytest.raises(UserError, match=r"small\.npz: images of shape \(4, 4, 3\).*\(5, 5, 3\)"):
        read_split(path, small, 0.5, seed=0)
    more = write(tmp_path / "more.npz", x=X, y=Y + 1)
    with pytest.raises(UserError, match="a test image shows class 3"):
        read_split(path, more, 0.5, seed=0)
    rare = np.zeros(12, int)
    rare[int(np.random.default_rng(0).permutation(12)[0])] = 1  # seed 0 holds it back
    with pytest.raises(UserError, match="a validation image shows class 1"):
        read_split(write(tmp_path / "rare.npz", x=X, y=rare), None, 0.1, seed=0)


def test_classes_are_those_of_the_training_images() -> None:
    images = Images(X, Y.astype(np.int64))
    assert Split(images, images.take(np.array([0]))).classes == 3
