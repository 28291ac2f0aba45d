"""LatBench: latencies of NAS-Bench-201 cells, published with BRP-NAS (Dudziak et al., 2020)."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from brpnas.datasets.card import Card
from brpnas.datasets.formats._shared import numbers, shown
from brpnas.datasets.table import Table
from brpnas.datasets.unpickle import safe_load
from brpnas.errors import UserError
from brpnas.spaces import Cell

__all__ = ["read"]

# eagle/models/nasbench201/utils.py numbers the operations so, in the order of the string.
_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def read(path: Path) -> Table:
    """Read a LatBench pickle: a dict from architecture to latency in seconds.

    The key is a tuple of six operation indices (0 none, 1 skip_connect, 2 nor_conv_1x1,
    3 nor_conv_3x3, 4 avg_pool_3x3), that tuple as text, or the official string. Format: README
    and ``eagle/models/nasbench201/utils.py`` of https://github.com/SamsungLabs/eagle. Files of raw
    measurements (a list of pairs) must go through that project's ``tools/calc_stats.py`` first.

    Returns:
        Columns ``arch`` and ``latency_ms``.

    Raises:
        UserError: not such a file; names the entry.
    """
    path = Path(path)
    content = safe_load(path)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path}: expected a dict from architecture to seconds, found {type(content).__name__}"
        )
    archs = [_arch(key, f"{path}: entry {row}") for row, key in enumerate(content, start=1)]
    latency_s = numbers(list(content.values()), f"{path}: latencies")
    card = Card(
        title=f"LatBench {path.stem}",
        source="LatBench, https://github.com/SamsungLabs/eagle (BRP-NAS, arXiv:2007.08668)",
        device=path.stem,
        rebuild=f"import {path.name} as latbench",
        space="nasbench201",
    )
    return Table(pd.DataFrame({"arch": archs, "latency_ms": latency_s * 1000}), card, path.name)


def _arch(key: object, where: str) -> str:
    if isinstance(key, str) and key.startswith("|"):
        return key
    vector: object = key
    if isinstance(key, str):
        try:
            vector = ast.literal_eval(key)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            vector = None
    if not isinstance(vector, (tuple, list)) or len(vector) != 6:
        raise UserError(f"{where}: {shown(key)!r} is not a vector of six operations")
    if not all(option in range(len(_OPERATIONS)) for option in vector):
        raise UserError(f"{where}: {shown(key)!r} has an operation that is not 0 to 4")
    return str(Cell(tuple(_OPERATIONS[int(option)] for option in vector)))
