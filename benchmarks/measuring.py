"""How far measurements on this machine can be trusted.

    python benchmarks/measuring.py repeat --sample 50 [--busy 1]
    python benchmarks/measuring.py agree TABLE.parquet nasbench201.parquet

``repeat`` measures the same cells twice, each time in a new process, and compares the two tables;
``--busy`` keeps so many other processes computing meanwhile. ``agree`` compares a table of
``brpnas measure --space nasbench201 --all`` with published measurements of other machines.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from brpnas.spaces import NASBench201

COLUMNS = ("latency_ms", "latency_ms_min", "latency_ms_wall_median", "latency_ms_wall_min")
PUBLISHED = (
    "latency_ms_hwnas360_pi5_litert",
    "latency_ms_hwnas360_pixel_litert",
    "latency_ms_hwnas_raspi4",
    "latency_ms_hwnas_pixel3",
    "latency_ms_latbench_sd855_cpu_int8",
)
SPIN = np.random.default_rng(0).standard_normal((256, 256))


def spin() -> None:
    """Compute for ever, with memory traffic."""
    while True:
        SPIN @ SPIN


def repeat(sample: int, busy: int) -> dict[str, object]:
    """Measure twice and compare."""
    spinning = [multiprocessing.Process(target=spin, daemon=True) for _ in range(busy)]
    for process in spinning:
        process.start()
    program = str(Path(sys.executable).with_name("brpnas"))
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            out = Path(folder) / f"{number}.parquet"
            what = ["--space", "nasbench201", "--sample", str(sample)]
            command = [program, "measure", *what, "--out", str(out)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
            tables.append(pd.read_parquet(out).set_index("arch"))
    for process in spinning:
        process.kill()
    first, second = tables
    second = second.loc[first.index]
    result: dict[str, object] = {"cells": len(first), "busy": busy}
    for column in COLUMNS:
        a, b = first[column], second[column]
        difference = 100 * (a - b).abs() / ((a + b) / 2)
        result[column] = {
            "median_pct": round(float(difference.median()), 2),
            "worst_pct": round(float(difference.max()), 2),
            "spearman": round(float(spearmanr(a, b).statistic), 4),
        }
    return result


def agree(measured: Path, published: Path) -> dict[str, object]:
    """Compare with published measurements, on the official classes' own cells."""
    space = NASBench201()
    ours = pd.read_parquet(measured).set_index("arch")["latency_ms"]
    world = pd.read_parquet(published)
    world = world[world["arch_index"] == world["rep_index"]]
    deployed = [str(space.deployed(space.parse(text))) for text in world["arch"]]
    here = ours.reindex(deployed).to_numpy()
    result: dict[str, object] = {}
    for column in (name for name in PUBLISHED if name in world):
        there = world[column].to_numpy()
        both = np.isfinite(here) & np.isfinite(there)
        rho = spearmanr(here[both], there[both]).statistic
        result[column] = {"cells": int(both.sum()), "spearman": round(float(rho), 4)}
    return result


def main() -> None:
    """Run one of the two comparisons and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    repeating = commands.add_parser("repeat")
    repeating.add_argument("--sample", type=int, default=50)
    repeating.add_argument("--busy", type=int, default=0)
    agreeing = commands.add_parser("agree")
    agreeing.add_argument("measured", type=Path)
    agreeing.add_argument("published", type=Path)
    asked = parser.parse_args()
    started = time.perf_counter()
    if asked.command == "repeat":
        result = repeat(asked.sample, asked.busy)
    else:
        result = agree(asked.measured, asked.published)
    print(json.dumps({**result, "wall_s": round(time.perf_counter() - started, 1)}, indent=1))


if __name__ == "__main__":
    main()
