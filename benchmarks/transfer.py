"""Few-shot transfer, each device in turn as the new one: Spearman by number of samples.

Columns of one physical device never serve as each other's sources. The constants of the model are
to be chosen on other devices than those that they are judged on: several values of a constant are
tried in all combinations, and ``--half`` leaves out every second device::

    python benchmarks/transfer.py --table nasbench201.parquet
    python benchmarks/transfer.py --table nasbench201.parquet --samples 10 --half odd \
        --noise 0.03 0.06 0.12 --structure 0.01 0.02 0.04
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from brpnas.costs import COST_PREFIXES
from brpnas.datasets import open_table
from brpnas.predictors.transfer import Sources, Transfer, TransferPrior
from brpnas.resolver import SPACES, parse_archs, resolve

DEVICES = {
    "edgetpu": "*_edgetpu_*",
    "eyeriss": "*_eyeriss",
    "fpga": "*_fpga",
    "gold_6226": "*_gold_6226",
    "gtx1080ti": "*1080ti_*",
    "jetson_nano": "*_jetson_nano_*",
    "pi5": "*_pi5_*",
    "pixel": "*_pixel_*",
    "pixel3": "*_pixel3",
    "raspi4": "*_raspi4",
    "samsung_s7": "*_samsung_s7",
    "sd450": "*_sd450_*",
    "sd855": "*_sd855_*",
    "silver_4114": "*_silver_4114",
}
"""The columns of each physical device, by its name."""
HALVES = {"all": slice(None), "odd": slice(0, None, 2), "even": slice(1, None, 2)}
"""Devices by their place in the alphabetical order of their names: the first is at an odd one."""
CONSTANTS = [field.name for field in fields(TransferPrior) if field.name != "candidates"]


def device_of(column: str) -> str:
    """Return the physical device that a column was measured on; the column's name if unknown."""
    return next((name for name, glob in DEVICES.items() if fnmatchcase(column, glob)), column)


def judge(
    transfer: Transfer, values: NDArray[np.float64], samples: int
) -> tuple[float, float, float]:
    """Return Spearman, share within 10%, and share within the 90% interval, on all others."""
    usable = np.isfinite(values)
    rows = transfer.suggest(samples, usable)
    found = transfer.fit(rows, values[rows]).predict()
    usable[rows] = False
    assert found.std is not None
    error, truth = np.abs(found.mean - values)[usable], values[usable]
    spearman = float(spearmanr(found.mean[usable], truth).statistic)
    inside = error <= 1.645 * found.std[usable]
    return spearman, float((error <= 0.1 * truth).mean()), float(inside.mean())


def judge_all(
    sources: Sources,
    columns: Mapping[str, NDArray[np.float64]],
    prior: TransferPrior,
    samples: int,
    seeds: int,
) -> None:
    """Print a line for each column, then the means and the worst column."""
    measures = []
    for name, values in columns.items():
        same = {other for other in sources.names if device_of(other) == device_of(name)}
        others = sources.without(same)
        runs = [judge(Transfer(others, seed, prior), values, samples) for seed in range(seeds)]
        measures.append(np.mean(runs, axis=0))
        spearman, within, inside = measures[-1]
        print(f"{samples:4d} {name:40s} {spearman:.3f} {within:.3f} {inside:.3f}", flush=True)
    spearman, within, inside = np.mean(measures, axis=0)
    worst = np.min(measures, axis=0)[0]
    print(
        f"{samples:4d} samples: Spearman mean {spearman:.4f}, min {worst:.3f}; "
        f"within 10% {within:.3f}; in the 90% interval {inside:.3f}",
        flush=True,
    )


def main() -> None:
    """Judge every combination of the constants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", required=True)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--half", default="all", choices=HALVES)
    parser.add_argument("--samples", type=int, nargs="+", default=[3, 10, 30, 100])
    parser.add_argument("--seeds", type=int, default=5)
    for name in CONSTANTS:
        default = asdict(TransferPrior())[name]
        parser.add_argument(f"--{name}", type=float, nargs="+", default=[default])
    options = parser.parse_args()
    table, space = open_table(options.table), resolve("space", options.space, SPACES)()
    columns = {
        name: np.where(table.judged(name).rows, table.metric(name), np.nan)
        for name in table.metrics
        if name.startswith(COST_PREFIXES)
    }
    started = time.perf_counter()
    sources = Sources.of([space.graph(arch) for arch in parse_archs(table, space)], columns)
    print(f"{len(columns)} columns denoised in {time.perf_counter() - started:.1f} s")
    devices = sorted({device_of(name) for name in columns})[HALVES[options.half]]
    judged = {name: values for name, values in columns.items() if device_of(name) in devices}
    for values in itertools.product(*(getattr(options, name) for name in CONSTANTS)):
        constants = dict(zip(CONSTANTS, values, strict=True))
        print(", ".join(f"{name} {value:g}" for name, value in constants.items()))
        for samples in options.samples:
            judge_all(sources, judged, TransferPrior(**constants), samples, options.seeds)


if __name__ == "__main__":
    main()
