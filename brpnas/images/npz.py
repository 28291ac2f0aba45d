"""Arrays from ``.npz`` files of strangers."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.images.image_set import ImageSet

__all__ = ["read_arrays", "read_npz"]

_DAMAGED = (
    OSError, ValueError, EOFError, AttributeError, TypeError, RuntimeError, SyntaxError,
    MemoryError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy and zipfile raise for a file that is cut off, altered or of another kind."""


def read_arrays(path: Path, *, labels: bool) -> dict[str, NDArray[Any]]:
    """Read the arrays ``x`` and, if there, ``y`` of an ``.npz`` file; pickles are refused.

    Args:
        path: of the file.
        labels: whether ``y`` has to be there.

    Raises:
        UserError: no such file, not an ``.npz``, or one of the arrays is missing.
    """
    try:
        # Opened here, because numpy leaves a file that is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = ["x", "y"] if labels or "y" in arrays else ["x"]
            found = {name: arrays[name] for name in names}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except KeyError as error:
        expected = "the arrays 'x' and 'y'" if labels else "an array 'x'"
        raise UserError(f"{path}: expected {expected} ({error.args[0]})") from None
    except _DAMAGED as error:
        why = "" if "pickle" in str(error) else f" ({error})"  # numpy's advice is unsafe
        raise UserError(f"{path}: not a readable .npz file{why}") from None
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # numpy returns other files as they are
            raise UserError(f"{path}: '{name}' is no array of numpy's")
    return found


def read_npz(path: Path) -> ImageSet:
    """Read ``x`` (NHWC, uint8 or float) and, if there, ``y`` (integers).

    Raises:
        UserError: see `read_arrays` and `ImageSet`.
    """
    arrays = read_arrays(path, labels=False)
    return ImageSet(str(path), arrays["x"], arrays.get("y"))
