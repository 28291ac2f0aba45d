"""Images from a file or folder, by what it is."""

from __future__ import annotations

from pathlib import Path

from brpnas.errors import UserError
from brpnas.images.decoding import Pixels
from brpnas.images.folder import read_folder
from brpnas.images.image_set import ImageSet
from brpnas.images.npz import read_npz
from brpnas.images.parquet import read_parquet

__all__ = ["read_image_set"]


def read_image_set(
    path: Path, *, channels: int = 3, size: tuple[int, int] | None = None
) -> ImageSet:
    """Read images.

    Args:
        path: an ``.npz`` file (``x`` of shape (n, height, width, channels), uint8 or float, and
            ``y`` or not), a ``.parquet`` file (see `read_parquet`) or a folder (see
            `read_folder`). All images are held in memory, as they are or uint8.
        channels: of compressed images, 3 or 1; arrays are left as they are.
        size: height and width that compressed images are scaled and cut to; arrays are left as
            they are.

    Raises:
        UserError: nothing there, of another kind, or it cannot be read.
    """
    if path.is_dir():
        return read_folder(path, Pixels(channels, size))
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_npz(path)
    if suffix == ".parquet":
        return read_parquet(path, Pixels(channels, size))
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    raise UserError(
        f"{path}: unknown kind of images; accepted: an .npz file, a .parquet file, a folder"
    )
