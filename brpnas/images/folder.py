"""Images in a folder, one subfolder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brpnas.errors import UserError
from brpnas.images.decoding import Pixels, decode_all
from brpnas.images.image_set import ImageSet

__all__ = ["SUFFIXES", "read_folder"]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_folder(path: Path, pixels: Pixels) -> ImageSet:
    """Read the images of a folder.

    Subfolders are classes: 0, 1, ... in the order of their names, or the numbers that they are
    named by, if all are. Images that are in the folder itself have no classes. What is hidden or
    has another suffix than SUFFIXES is left out.

    Args:
        path: of the folder.
        pixels: how the images are to come out.

    Raises:
        UserError: no images, images beside subfolders, an image that cannot be read.
    """
    folders = sorted(one for one in path.iterdir() if one.is_dir() and not _hidden(one))
    files = _images(path)
    if folders and files:
        raise UserError(
            f"{path}: holds images ({files[0].name}) beside subfolders ({folders[0].name}); "
            "accepted: images of unknown classes, or one subfolder of images for each class"
        )
    numbers = range(len(folders))
    numbered = all(one.name.isascii() and one.name.isdigit() for one in folders)
    classes = [int(one.name) if numbered else n for n, one in zip(numbers, folders, strict=True)]
    y: list[int] = []
    for folder, number in zip(folders, classes, strict=True):
        found = _images(folder)
        if not found:
            raise UserError(f"{folder}: no images; their names end in {', '.join(SUFFIXES)}")
        files += found
        y += [number] * len(found)
    if not files:
        raise UserError(f"{path}: no images; their names end in {', '.join(SUFFIXES)}")
    x = decode_all(((str(file), file.read_bytes()) for file in files), len(files), pixels)
    names = () if numbered else tuple(one.name for one in folders)
    return ImageSet(str(path), x, np.array(y, np.int64) if folders else None, names)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _images(folder: Path) -> list[Path]:
    return sorted(
        one
        for one in folder.iterdir()
        if one.suffix.lower() in SUFFIXES and not _hidden(one) and one.is_file()
    )
