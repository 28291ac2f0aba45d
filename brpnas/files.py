"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["replace_file", "temporary"]


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader, or a kill, sees the old content or the new."""
    aside = temporary(path)
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:  # half a file is of no use on a full disk
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name is on the disk too
    finally:
        os.close(folder)


def temporary(path: Path) -> Path:
    """Return where the new content of a file is written first."""
    return path.with_name(path.name + ".tmp")
