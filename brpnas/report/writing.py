"""How the files of a report get onto the disk."""

from __future__ import annotations

from pathlib import Path

from brpnas.errors import UserError
from brpnas.files import replace_file

__all__ = ["write_file", "write_page"]


def write_page(path: Path, text: str) -> None:
    """Write a page, as `write_file` does; bytes of a command or path that are no text are shown."""
    write_file(path, text.encode("utf-8", errors="backslashreplace"))


def write_file(path: Path, content: bytes) -> None:
    """Write a file as a whole; one that is there is replaced.

    Raises:
        UserError: it cannot be written.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
