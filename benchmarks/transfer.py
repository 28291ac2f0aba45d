"""Few-shot transfer, each device in turn as the new one: Spearman by number of samples.

Columns of the same physical device never serve as each other's sources; name them by globs::

    python benchmarks/transfer.py --table nasbench201.parquet --device '*pi5*' \
        --device '*1080ti*' --device '*sd855*'
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from brpnas.datasets import open_table
from brpnas.datasets.table import COST_PREFIXES
from brpnas.predictors.transfer import Sources, Transfer
from brpnas.resolver import SPACES, parse_archs, resolve


def same_device(column: str, columns: Sequence[str], devices: Sequence[str]) -> set[str]:
    """Return the columns of the device that a column belongs to, itself included."""
    groups = [
        {name for name in columns if any(fnmatchcase(name, glob) for glob in device.split(","))}
        for device in devices
    ]
    return {column}.union(*(group for group in groups if column in group))


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


def main() -> None:
    """Print a line for each device and number of samples, then the means and the worst device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", required=True)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--device", action="append", default=[], metavar="GLOB,GLOB")
    parser.add_argument("--samples", type=int, nargs="+", default=[3, 10, 30, 100])
    parser.add_argument("--seeds", type=int, default=5)
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
    for samples in options.samples:
        measures = []
        for name, values in columns.items():
            others = sources.without(same_device(name, list(columns), options.device))
            runs = [judge(Transfer(others, s), values, samples) for s in range(options.seeds)]
            measures.append(np.mean(runs, axis=0))
            spearman, within, inside = measures[-1]
            print(f"{samples:4d} {name:40s} {spearman:.3f} {within:.3f} {inside:.3f}", flush=True)
        spearman, within, inside = np.mean(measures, axis=0)
        worst = np.min(measures, axis=0)[0]
        print(
            f"{samples:4d} samples: Spearman mean {spearman:.4f}, min {worst:.3f}; "
            f"within 10% {within:.3f}; in the 90% interval {inside:.3f}"
        )


if __name__ == "__main__":
    main()
