"""Descriptions of hardware as TOML files: those of the package by name, the user's own by path."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brpnas.errors import UserError, unknown_name

__all__ = ["built_in_names", "find_toml", "load_toml"]


def built_in_names(folder: Path) -> list[str]:
    """Return the names of the files in a folder of the package."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def find_toml(name: str, folder: Path, kind: str, called: str, others: Sequence[str] = ()) -> Path:
    """Return the file of a name.

    Args:
        name: of a file in the folder, without its ending, or path of any other.
        folder: of the package.
        kind: what the name stands for, such as ``"device"``.
        called: what the file holds, such as ``"profile"``.
        others: names that are accepted elsewhere, for the error.

    Raises:
        UserError: neither a name that there is nor a path of such a file.
    """
    known = built_in_names(folder)
    if name in known:
        return folder / f"{name}.toml"
    if not name.endswith(".toml"):
        error = unknown_name(kind, name, dict.fromkeys([*known, *others]))
        raise UserError(f"{error}; or the path of a {called}, which ends in .toml")
    return Path(name)


def load_toml(path: Path, shown: str) -> dict[str, Any]:
    """Return what a file holds.

    Raises:
        UserError: it cannot be read, or is no TOML; begins with ``shown``.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{shown}: cannot be read: {reason}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError
        raise UserError(f"{shown}: not a TOML file: {error}") from None
