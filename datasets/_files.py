"""Files that the user names: found or a clear error."""

from __future__ import annotations

from pathlib import Path

from brpnas.errors import UserError


def existing_file(path: Path) -> Path:
    """Return the path, or raise UserError where it is not a file."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a file")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return path
