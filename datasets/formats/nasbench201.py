"""NAS-Bench-201: the official file (Dong & Yang, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brpnas.datasets.card import Card
from brpnas.datasets.formats._runs import network_metrics, runs_table
from brpnas.datasets.formats._shared import cell_strings, entry, load_torch, shown
from brpnas.datasets.table import Table
from brpnas.errors import UserError

__all__ = ["read"]


def read(path: Path) -> Table:
    """Read ``NAS-Bench-201-v1_0-e61699.pth`` or ``NAS-Bench-201-v1_1-096897.pth``.

    A dict: ``meta_archs``, the official strings; ``arch2infos``, from index to the results with
    ``less`` (12) and ``full`` (200) epochs; ``evaluated_indexes``. Format: ``nas_201_api`` of
    https://github.com/D-X-Y/NAS-Bench-201. The official files have gigabytes, need several times
    that in memory, and take many minutes to read.

    Returns:
        Accuracies (%) after 12 and 200 epochs, means over seeds; parameters, multiply-accumulates
        and latency for each data set.

    Raises:
        UserError: not such a file; names the key or the architecture.
    """
    path = Path(path)
    content = load_torch(path)
    archs = cell_strings(entry(content, "meta_archs", str(path)), str(path))
    results = entry(content, "arch2infos", str(path))
    if not isinstance(results, Mapping):
        raise UserError(f"{path}: arch2infos: expected a dict, found {type(results).__name__}")
    for index in results:
        if not isinstance(index, int):
            raise UserError(f"{path}: arch2infos: key {shown(index)!r} is not a whole number")
    rows = {}
    for index in sorted(results):
        where = f"{path}: architecture {index}"
        if index not in range(len(archs)):
            raise UserError(f"{where}: there are {len(archs)} architectures")
        budgets = [
            (epochs, entry(results[index], key, where))
            for key, epochs in (("less", "12"), ("full", "200"))
        ]
        rows[archs[index]] = network_metrics(budgets, where)
    card = Card(
        title=f"NAS-Bench-201 {path.stem}",
        source="NAS-Bench-201, https://github.com/D-X-Y/NAS-Bench-201 (ICLR 2020)",
        conditions="accuracies and latencies are means over all runs",
        rebuild=f"import {path.name} as nasbench201",
        space="nasbench201",
    )
    return runs_table(rows, path.name, card)
