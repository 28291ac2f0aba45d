"""The tables that come with the package, and any other table by its path."""

from __future__ import annotations

from pathlib import Path

from brpnas.datasets.storage import SUFFIXES, read_table
from brpnas.datasets.table import Table
from brpnas.errors import UserError, unknown_name

__all__ = ["embedded_names", "open_table"]

_EMBEDDED = Path(__file__).parent / "embedded"


def embedded_names() -> list[str]:
    """Return the names of the tables that come with the package."""
    return sorted(path.stem for path in _EMBEDDED.glob("*.parquet"))


def open_table(name_or_path: str | Path) -> Table:
    """Open an embedded table by name, or any table by path.

    Raises:
        UserError: neither an embedded name nor a readable table; lists what is there.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in embedded_names():
        return read_table(_EMBEDDED / f"{name}.parquet")
    if path.suffix or path.exists() or len(path.parts) > 1:
        return read_table(path)
    unknown = unknown_name("embedded table", name, embedded_names())
    raise UserError(f"{unknown}; or give the path of a {' or '.join(SUFFIXES)} file")
