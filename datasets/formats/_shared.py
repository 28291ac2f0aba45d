"""What several importers need."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from brpnas.datasets._files import existing_file
from brpnas.datasets.unpickle import PLAIN_GLOBALS
from brpnas.errors import UserError


def load_torch(path: Path) -> object:
    """Load a file of ``torch.save`` that holds containers, numbers, tensors and numpy arrays."""
    existing_file(path)
    replacements = [(stand_in, name) for name, stand_in in PLAIN_GLOBALS.items()]
    try:
        with torch.serialization.safe_globals([*replacements]):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
            return content
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except pickle.UnpicklingError as error:
        # Torch's own message advises how to run the file all the same.
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if not refused:
            raise UserError(f"{path}: not a readable torch file") from None
        raise UserError(
            f"{path}: refused '{refused[1][:200]}': only containers, numbers, tensors and numpy"
            " arrays are read"
        ) from None
    except Exception as error:  # noqa: BLE001 - arbitrary bytes can raise anything
        kind = type(error).__name__
        reason = next(iter(str(error).splitlines()), "")[:200]
        raise UserError(f"{path}: not a readable torch file ({kind}: {reason})") from None


def entry(content: object, key: object, where: str) -> object:
    """Return ``content[key]``, or raise UserError that lists the keys."""
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: expected a dict, found {type(content).__name__}")
    if key not in content:
        keys = ", ".join(shown(known)[:50] for known in list(content)[:20])
        raise UserError(f"{where}: no key '{key}'; keys: {keys or '(none)'}")
    found: object = content[key]
    return found


def shown(value: object) -> str:
    """Return text or a number as errors show it, of all else the type: lists may never end."""
    if isinstance(value, str):
        return value[:80]
    # Python refuses to print numbers of thousands of digits.
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 64):
        return str(value)
    return type(value).__name__


def numbers(values: object, where: str) -> NDArray[np.float64]:
    """Return a sequence of numbers as float64, shape (n,); None becomes NaN."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: not a sequence of numbers") from None
    if array.ndim != 1:
        raise UserError(f"{where}: expected a flat sequence of numbers, found shape {array.shape}")
    return array


def cell_strings(values: object, where: str) -> list[str]:
    """Check that these are NAS-Bench-201 strings."""
    if not isinstance(values, (list, tuple)):
        raise UserError(f"{where}: expected a list, found {type(values).__name__}")
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.startswith("|"):
            raise UserError(
                f"{where}: architecture {index} is {shown(value)!r}, not a NAS-Bench-201 cell"
            )
    return list(values)
