"""HELP: latencies of NAS-Bench-201 cells on many devices (Lee et al., NeurIPS 2021)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.datasets.card import Card
from brpnas.datasets.formats._shared import cell_strings, load_torch, numbers
from brpnas.datasets.table import Table
from brpnas.errors import UserError

__all__ = ["read"]

_ORDER = "str_arch2idx.pt"


def read(path: Path, order: Path | None = None) -> Table:
    """Read HELP's ``data/nasbench201/latency`` or one ``<device>.pt`` of it.

    Each file of ``torch.save`` holds a list, array or tensor of latencies in milliseconds, at the
    official index of the architecture. Which architecture that is stands in ``str_arch2idx.pt``, a
    dict from official string to index. Format: ``loader.py`` of
    https://github.com/HayeonLee/HELP. Its FBNet and OFA files are not read.

    Args:
        path: the file of a device, or the folder of many.
        order: ``str_arch2idx.pt``; without it, looked for beside ``path`` and one folder up.

    Returns:
        A column ``latency_ms_<device>`` for each file.

    Raises:
        UserError: not such a file, or no ``str_arch2idx.pt``.
    """
    path = Path(path)
    files = sorted(path.glob("*.pt")) if path.is_dir() else [path]
    files = [file for file in files if file.name != _ORDER]
    if not files:
        raise UserError(f"{path}: no .pt files in this folder")
    archs = _archs(order or _find_order(path))
    frame = pd.DataFrame({"arch": archs})
    for file in files:
        latency_ms = _latency_ms(file)
        if len(latency_ms) != len(archs):
            raise UserError(f"{file}: {len(latency_ms)} values for {len(archs)} architectures")
        frame[f"latency_ms_{file.stem}"] = latency_ms
    card = Card(
        title=f"HELP latencies, {path.name}",
        source="HELP, https://github.com/HayeonLee/HELP (arXiv:2106.08630)",
        device=", ".join(file.stem for file in files),
        conditions="a number at the end of a device's name is the batch size",
        rebuild=f"import {path.name} as help",
        space="nasbench201",
    )
    return Table(frame, card, path.name)


def _find_order(path: Path) -> Path:
    places = [path / _ORDER, path.parent / _ORDER, path.parent.parent / _ORDER]
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"{path}: '{_ORDER}' of the same data set, which says which latency is whose,"
        f" is not in {path.parent} or {path.parent.parent}"
    )


def _archs(path: Path) -> list[str]:
    indices = load_torch(path)
    if not isinstance(indices, dict) or sorted(map(str, indices.values())) != sorted(
        map(str, range(len(indices)))
    ):
        raise UserError(f"{path}: expected a dict from architecture to the indices 0, 1, 2, ...")
    return cell_strings(sorted(indices, key=lambda arch: int(indices[arch])), str(path))


def _latency_ms(path: Path) -> NDArray[np.float64]:
    content = load_torch(path)
    if isinstance(content, dict):
        indices = list(content)
        if sorted(map(str, indices)) != sorted(map(str, range(len(indices)))):
            raise UserError(f"{path}: expected latencies at the indices 0, 1, 2, ...")
        content = [content[index] for index in sorted(indices, key=int)]
    return numbers(content, str(path))
