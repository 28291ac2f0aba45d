"""HW-NAS-Bench: hardware costs of NAS-Bench-201 cells on six devices (Li et al., ICLR 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from brpnas.datasets.card import Card
from brpnas.datasets.formats._shared import cell_strings, entry, numbers
from brpnas.datasets.table import Table
from brpnas.datasets.unpickle import safe_load
from brpnas.errors import UserError

__all__ = ["read"]


def read(path: Path, dataset: str = "cifar10") -> Table:
    """Read ``HW-NAS-Bench-v1_0.pickle``.

    A dict: ``["nasbench201"][dataset]`` has under ``config`` one dict for each architecture (its
    string under ``arch_str``), and lists of the same length such as ``edgegpu_latency`` (ms) and
    ``fpga_energy`` (mJ). Format: README and ``hw_nas_bench_api`` of
    https://github.com/GATECH-EIC/HW-NAS-Bench. The FBNet part of the file is not read.

    Args:
        path: the file.
        dataset: ``cifar10``, ``cifar100`` or ``ImageNet16-120``: the networks' input and classes.

    Returns:
        ``latency_ms_<device>``, ``energy_mj_<device>``, and other lists under their own name.

    Raises:
        UserError: not such a file, or an unknown data set.
    """
    path = Path(path)
    spaces = safe_load(path)
    metrics = entry(entry(spaces, "nasbench201", str(path)), dataset, f"{path}: nasbench201")
    where = f"{path}: nasbench201/{dataset}"
    if not isinstance(metrics, Mapping):
        raise UserError(f"{where}: expected a dict, found {type(metrics).__name__}")
    configs = entry(metrics, "config", where)
    if not isinstance(configs, (list, tuple)):
        raise UserError(f"{where}/config: expected a list, found {type(configs).__name__}")
    archs = [
        entry(config, "arch_str", f"{where}/config/{row}") for row, config in enumerate(configs)
    ]
    frame = pd.DataFrame({"arch": cell_strings(archs, where)})
    for name in metrics:
        if name == "config":
            continue
        values = numbers(metrics[name], f"{where}/{name}")
        if len(values) != len(frame):
            raise UserError(f"{where}/{name}: {len(values)} values for {len(frame)} architectures")
        frame[_column(str(name))] = values
    card = Card(
        title=f"HW-NAS-Bench {path.stem}, networks for {dataset}",
        source="HW-NAS-Bench, https://github.com/GATECH-EIC/HW-NAS-Bench (ICLR 2021)",
        conditions="one image at a time; Eyeriss and FPGA are estimated, the others measured",
        rebuild=f"import {path.name} as hwnasbench",
        space="nasbench201",
    )
    return Table(frame, card, path.name)


def _column(name: str) -> str:
    device, _, metric = name.rpartition("_")
    unit = {"latency": "latency_ms", "energy": "energy_mj"}.get(metric)
    return f"{unit}_{device}" if unit and device else name
