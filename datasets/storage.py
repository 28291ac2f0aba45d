"""Tables on disk: Parquet with the card inside, CSV with the card beside it."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from brpnas.datasets._files import existing_file
from brpnas.datasets.card import Card
from brpnas.datasets.table import Table, content_sha256
from brpnas.errors import DAMAGE, UserError

__all__ = ["SUFFIXES", "check_writable", "read_table", "write_table"]

SUFFIXES = (".parquet", ".csv")
_CARD_KEY = b"brpnas.card"


def read_table(path: Path | str) -> Table:
    """Read a table from ``.parquet`` or ``.csv``. Without a card, the file's name is the title.

    Raises:
        UserError: no such file, unknown suffix, damaged file, no column ``arch``, no rows, an
            architecture that appears twice, a damaged card.
    """
    path = Path(path)
    suffix = _suffix(path)
    existing_file(path)
    try:
        frame, card = _read_parquet(path) if suffix == ".parquet" else _read_csv(path)
    except (OSError, pa.ArrowException, *DAMAGE) as error:
        kind = suffix.removeprefix(".")
        raise UserError(f"{path}: not a readable {kind} file ({_first_line(error)})") from None
    return Table(frame, card or Card(title=path.name), path.name)


def check_writable(path: Path | str) -> None:
    """Check that a table can be written there, before the long work that makes it.

    Raises:
        UserError: unknown suffix, a folder of that name, or the folder around it does not exist or
            cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        accepted = " or ".join(SUFFIXES)
        raise UserError(f"{path}: is a folder, not a file; name a {accepted} file in it")
    _suffix(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error.strerror or error})") from None


def write_table(table: Table, path: Path | str) -> None:
    """Write a table to ``.parquet`` or ``.csv`` (and ``.card.json``), stamping the card's hash.

    The file appears whole or not at all.

    Raises:
        UserError: unknown suffix, or the folder does not exist or cannot be written to.
    """
    path = Path(path)
    suffix = _suffix(path)
    card = dataclasses.replace(table.card, sha256=content_sha256(table.frame)).to_json()
    try:
        if suffix == ".parquet":
            arrow = pa.Table.from_pandas(table.frame, preserve_index=False)
            metadata = {**(arrow.schema.metadata or {}), _CARD_KEY: card.encode()}
            arrow = arrow.replace_schema_metadata(metadata)
            _atomically(path, lambda file: pq.write_table(arrow, file))
        else:
            _atomically(_card_path(path), lambda file: file.write_text(card, encoding="utf-8"))
            _atomically(path, lambda file: table.frame.to_csv(file, index=False))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot write ({_first_line(error)})") from None


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: unknown kind of table; accepted: {', '.join(SUFFIXES)}")
    return suffix


def _read_parquet(path: Path) -> tuple[pd.DataFrame, Card | None]:
    arrow = pq.ParquetFile(path).read()
    arrow.validate(full=True)  # else bytes that are no text are an error where they are used
    text = (arrow.schema.metadata or {}).get(_CARD_KEY)
    # Foreign files may have stored `arch` as pandas' index: without metadata it is a column.
    return arrow.to_pandas(ignore_metadata=True), text and Card.from_json(text, str(path))


def _read_csv(path: Path) -> tuple[pd.DataFrame, Card | None]:
    frame = pd.read_csv(path, dtype={"arch": str, "model": str})
    beside = _card_path(path)
    if not beside.exists():
        return frame, None
    return frame, Card.from_json(beside.read_bytes(), str(beside))


def _card_path(path: Path) -> Path:
    return path.with_suffix(".card.json")


def _atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name in the same folder, then put it in place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
