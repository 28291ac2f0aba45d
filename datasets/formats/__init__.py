"""Importers of files that others have published: one file, one function ``read``, each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from brpnas.datasets.formats.help import read as _read_help
from brpnas.datasets.formats.hwnasbench import read as _read_hwnasbench
from brpnas.datasets.formats.latbench import read as _read_latbench
from brpnas.datasets.formats.nasbench101 import read as _read_nasbench101
from brpnas.datasets.formats.nasbench201 import read as _read_nasbench201
from brpnas.datasets.formats.natsbench import read as _read_natsbench
from brpnas.datasets.table import Table
from brpnas.errors import unknown_name

__all__ = ["FORMATS", "Importer", "importer"]


class Importer(Protocol):
    """Reads a published file or folder; raises UserError where it is not of the format."""

    def __call__(self, path: Path, /) -> Table:
        """Read what is at the path."""
        ...


FORMATS: Mapping[str, Importer] = {
    "help": _read_help,
    "hwnasbench": _read_hwnasbench,
    "latbench": _read_latbench,
    "nasbench101": _read_nasbench101,
    "nasbench201": _read_nasbench201,
    "natsbench": _read_natsbench,
}


def importer(name: str) -> Importer:
    """Return the importer of a format, or raise UserError that lists the formats."""
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name]
