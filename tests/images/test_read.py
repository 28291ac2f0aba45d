from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from brpnas.errors import UserError
from brpnas.images import read_image_set

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 5, 7, 3), np.uint8)
Y = np.array([0, 0, 1, 1, 2, 2])


def png(x: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(x).save(file, "PNG", **options)
    return file.getvalue()


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of two images each."""
    for name, rows in (("cat", (0, 1)), ("dog", (2, 3)), ("eel", (4, 5))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for row in rows:
            (tmp_path / "set" / name / f"{row}.PNG").write_bytes(png(X[row]))
    (tmp_path / "set" / ".hidden").mkdir()
    (tmp_path / "set" / "cat" / "notes.txt").write_text("a")
    return tmp_path / "set"


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=X, y=Y.astype(np.uint8), other=np.ones(2))
    images = read_image_set(path)
    assert np.array_equal(images.x, X)
    assert images.y is not None
    assert (images.y.tolist(), images.y.dtype) == (Y.tolist(), np.int64)
    np.savez(path, x=(X / 255).astype(np.float16))
    images = read_image_set(path)
    assert (images.y, images.x.dtype) == (None, np.float32)


def test_folder(folder: Path) -> None:
    images = read_image_set(folder)
    assert images.y is not None
    assert np.array_equal(images.x, X)
    assert (images.y.tolist(), images.class_names) == (Y.tolist(), ("cat", "dog", "eel"))


def test_folders_named_by_numbers_are_those_classes(folder: Path) -> None:
    for old, new in (("cat", "0"), ("dog", "10"), ("eel", "2")):
        (folder / old).rename(folder / new)
    images = read_image_set(folder)
    assert images.y is not None
    assert (images.y.tolist(), images.class_names) == ([0, 0, 10, 10, 2, 2], ())


def test_images_without_classes(folder: Path) -> None:
    images = read_image_set(folder / "dog")
    assert images.y is None
    assert np.array_equal(images.x, X[2:4])


def test_columns_of_a_parquet_file(tmp_path: Path) -> None:
    contents = [png(x) for x in X]
    plain = read_image_set(parquet(tmp_path / "a.parquet", jpeg=contents, label=Y.astype(np.int16)))
    nested = [{"bytes": content, "path": "x"} for content in contents]
    other = read_image_set(parquet(tmp_path / "b.parquet", image=nested, more=Y))
    assert plain.y is not None
    assert plain.y.tolist() == Y.tolist()
    assert other.y is None
    assert np.array_equal(plain.x, X)
    assert np.array_equal(other.x, X)


def test_channels_and_size(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200, 100, 50  # the middle third is left over
    path = parquet(tmp_path / "a.parquet", png=[png(wide), png(np.ones((4, 4), np.uint8))])
    first, second = read_image_set(path, size=(10, 10)).x
    assert (first == (200, 100, 50)).all()
    assert (second == 1).all()  # scaled up, grey to colour
    grey = read_image_set(path, channels=1, size=(5, 5)).x
    assert grey.shape == (2, 5, 5, 1)
    assert grey[0, 2, 2, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    with pytest.raises(UserError, match=r"a\.parquet, row 1: 4 x 4 pixels, the first .* 10 x 30"):
        read_image_set(path)
    with pytest.raises(UserError, match="1 or 3 channels, the network takes 4"):
        read_image_set(path, channels=4)


def test_real_images(shared: Path) -> None:
    images = read_image_set(shared / "data" / "imagenet_val_1300_227px.parquet")
    assert images.x.shape == (1300, 227, 227, 3)
    assert images.y is not None
    assert len(np.unique(images.y)) == 725


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1]}, "no column of images; accepted: jpeg, image, png, img; there are: a"),
        ({"jpeg": ["text"]}, "column 'jpeg' holds string, not bytes"),
        ({"jpeg": [b"x", None]}, "column 'jpeg' lacks 1 of 2 values"),
        ({"jpeg": pa.array([], pa.binary())}, "column 'jpeg' lacks 0 of 0 values"),
        ({"jpeg": [b"x"]}, r"row 0: not a readable image .*accepted: BMP, JPEG"),
        (
            {"image": pa.array([{}], pa.struct({"bytes": pa.binary()}))},
            "row 0: not a readable image",
        ),
        ({"jpeg": [png(X[0])[:-40]]}, "row 0: not a readable image"),
        ({"jpeg": [png(X[0])], "label": ["cat"]}, "one integer for each of the 1 images"),
        ({"jpeg": [png(X[0])], "y": pa.array([None], pa.int8())}, "'y' lacks 1 of 1"),
        ({"jpeg": [png(np.ones((4, 4), np.uint16))]}, "row 0: more than 8 bits"),
    ],
)
def test_parquet_files_of_another_kind(tmp_path: Path, columns: Any, message: str) -> None:
    path = parquet(tmp_path / "a.parquet", **columns)
    with pytest.raises(UserError, match=message) as caught:
        read_image_set(path)
    assert str(caught.value).startswith(str(path))


def test_an_image_that_unpacks_into_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    with pytest.raises(UserError, match="decompression bomb"):
        read_image_set(parquet(tmp_path / "a.parquet", jpeg=[png(X[0])]))


def test_folders_of_another_kind(folder: Path) -> None:
    (folder / "fox").mkdir()
    with pytest.raises(UserError, match=r"fox: no images; their names end in \.bmp"):
        read_image_set(folder)
    with pytest.raises(UserError, match=r"fox: no images"):
        read_image_set(folder / "fox")
    (folder / "stray.png").write_bytes(png(X[0]))
    with pytest.raises(UserError, match=r"holds images \(stray\.png\) beside subfolders \(cat\)"):
        read_image_set(folder)
    (folder / "cat" / "0.PNG").write_text("no image")
    with pytest.raises(UserError, match=r"0\.PNG: not a readable image"):
        read_image_set(folder / "cat")


def test_other_files(tmp_path: Path) -> None:
    for name in ("a.npz", "a.parquet", "a.png", "folder"):
        with pytest.raises(UserError, match=f"{name}: no such file"):
            read_image_set(tmp_path / name)
    for name in ("a.npz", "a.parquet"):
        (tmp_path / name).write_bytes(b"garbage")
        with pytest.raises(UserError, match=f"{name}: not a readable"):
            read_image_set(tmp_path / name)
    (tmp_path / "a.png").write_bytes(png(X[0]))
    with pytest.raises(UserError, match=r"accepted: an \.npz file, a \.parquet file, a folder"):
        read_image_set(tmp_path / "a.png")
    np.savez(tmp_path / "b.npz", y=Y)
    with pytest.raises(UserError, match="expected an array 'x'"):
        read_image_set(tmp_path / "b.npz")
