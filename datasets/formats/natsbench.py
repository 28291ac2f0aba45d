"""NATS-Bench, topology space: the official "simple" folder (Dong et al., TPAMI 2021)."""

from __future__ import annotations

import bz2
from pathlib import Path

from brpnas.datasets._files import existing_file
from brpnas.datasets.card import Card
from brpnas.datasets.formats._runs import network_metrics, runs_table
from brpnas.datasets.formats._shared import cell_strings, entry
from brpnas.datasets.table import Table
from brpnas.datasets.unpickle import safe_load
from brpnas.errors import UserError

__all__ = ["read"]

_ENDING = ".pickle.pbz2"
_LIMIT_BYTES = 512 * 2**20  # a few kB of bzip2 can unpack to gigabytes


def read(path: Path) -> Table:
    """Read a folder such as ``NATS-tss-v1_0-3ffb9-simple``.

    It holds bzip2-compressed pickles: ``meta.pickle.pbz2`` with the official strings under
    ``meta_archs``, and one ``NNNNNN.pickle.pbz2`` for each architecture, a dict from epochs
    (``"12"``, ``"200"``) to results. Format: ``nats_bench`` of
    https://github.com/D-X-Y/NATS-Bench. All 15,625 files take minutes to read; architectures
    without a file are left out.

    Returns:
        Accuracies (%) after each number of epochs, means over seeds; parameters,
        multiply-accumulates and latency for each data set.

    Raises:
        UserError: not such a folder; names the file.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    meta = path / f"meta{_ENDING}"
    archs = cell_strings(entry(_load(meta), "meta_archs", str(meta)), str(meta))
    rows = {}
    for file in sorted(path.glob(f"[0-9]*{_ENDING}")):
        number = file.name.removesuffix(_ENDING)
        if not number.isdecimal() or int(number) >= len(archs):
            raise UserError(f"{file}: there are {len(archs)} architectures")
        results = _load(file)
        if not isinstance(results, dict):
            raise UserError(f"{file}: expected a dict, found {type(results).__name__}")
        rows[archs[int(number)]] = network_metrics(results.items(), str(file))
    card = Card(
        title=f"NATS-Bench topology {path.name}",
        source="NATS-Bench, https://github.com/D-X-Y/NATS-Bench (arXiv:2009.00437)",
        conditions="accuracies and latencies are means over all runs",
        rebuild=f"import the folder {path.name} as natsbench",
        space="nasbench201",
    )
    return runs_table(rows, path.name, card)


def _load(path: Path) -> object:
    try:
        with bz2.open(existing_file(path)) as file:
            content = file.read(_LIMIT_BYTES + 1)
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: not a whole bzip2 file ({error})") from None
    if len(content) > _LIMIT_BYTES:
        raise UserError(f"{path}: unpacks to more than the {_LIMIT_BYTES} bytes accepted")
    return safe_load(content, name=str(path))
