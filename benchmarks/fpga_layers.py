"""How many layers a second the FPGA model judges, in one process.

    python benchmarks/fpga_layers.py FOLDER [--rows 1000000] [--repeats 5]

FOLDER holds ``golden_layers_<kind>.parquet``; each kind's rows are repeated to so many. The time
is the processor's, which a busy machine does not change; the best of the repeats. The reference
(fpgaConvNet's model, Python objects layer by layer) updates 5,145 convolutions per CPU-second.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from brpnas.devices.fpga import LAYERS, evaluate_layers


def rows_per_second(kind: str, table: pd.DataFrame, repeats: int) -> float:
    """Return the rows of a table that one CPU-second evaluates."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        evaluate_layers(kind, table)
        seconds.append(time.process_time() - start)
    return len(table) / min(seconds)


def main() -> None:
    """Print a line for each kind of layer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of golden_layers_<kind>.parquet")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each table")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for kind in LAYERS:
        path = options.folder / f"golden_layers_{kind}.parquet"
        if path.is_file():
            golden = pd.read_parquet(path)
            chosen = np.arange(options.rows) % len(golden)
            table = golden[list(LAYERS[kind].inputs)].iloc[chosen]
            print(f"{kind:14} {rows_per_second(kind, table, options.repeats):12,.0f} rows/s")


if __name__ == "__main__":
    main()
