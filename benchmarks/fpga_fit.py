"""Fit the coefficients of LUTs and flip-flops to rows of a reference model.

    python benchmarks/fpga_fit.py FOLDER [--out devices/fpga/coefficients.json]

FOLDER holds ``golden_layers_<kind>.parquet``: layers with their inputs, their ``LUT`` and ``FF``,
and each module's taken alone (``m_<module>_LUT``). For each module and resource the relative error
is minimised by least squares over coefficients that are not negative (Lawson and Hanson 1974).
Rows are left out in which the layer does without the module; their column is filled all the same.

The error is that of layers held out, a fifth of each kind's: they are told apart by their shape,
all foldings and word lengths of a layer on one side. What is written is then fitted to all rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from brpnas.devices.fpga import FEATURES, LAYERS, read_columns
from brpnas.devices.fpga.logic import RESOURCES

Array = NDArray[np.float64]
Coefficients = dict[str, dict[str, dict[str, float]]]

# The golden files call a module by the layer's name where the layer is that module.
GOLDEN_NAMES = {("split", "split"): "fork"}
SHAPE = ("rows", "cols", "channels", "filters", "groups", "kernel_rows", "stride_rows")
HELD_OUT = 5  # one part of so many
SMALLEST_SHARE = 0.01


def golden_kinds(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of the kinds that take LUTs."""
    tables = {}
    for kind in LAYERS:
        path = folder / f"golden_layers_{kind}.parquet"
        if path.is_file():
            tables[kind] = pd.read_parquet(path)
    return tables


def held_out(kind: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows are not fitted to, by the sizes of their layer."""
    sizes = [name for name in SHAPE if name in LAYERS[kind].inputs]
    hashes = pd.util.hash_pandas_object(table[sizes].astype(str), index=False)
    return np.asarray(hashes.to_numpy() % HELD_OUT == 0)


def module_rows(
    tables: Mapping[str, pd.DataFrame], chosen: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, tuple[Array, Array]]]:
    """Return for each module and resource the features of the chosen rows, and the counts."""
    found: dict[str, dict[str, list[tuple[Array, Array]]]] = {
        module: {resource: [] for resource in RESOURCES} for module in FEATURES
    }
    for kind, table in tables.items():
        for use in LAYERS[kind].cost(read_columns(kind, table), True).modules:
            rows = chosen[kind] & (use.copies > 0)
            sizes = {name: values[rows] for name, values in use.sizes.items()}
            features = np.stack([value(sizes) for value in FEATURES[use.module].values()], axis=1)
            golden = GOLDEN_NAMES.get((kind, use.module), use.module)
            for resource in RESOURCES:
                counts = table.loc[rows, f"m_{golden}_{resource}"].to_numpy(dtype=np.float64)
                found[use.module][resource].append((features, counts))
    return {
        module: {
            resource: (np.concatenate([f for f, _ in parts]), np.concatenate([c for _, c in parts]))
            for resource, parts in resources.items()
        }
        for module, resources in found.items()
    }


def fit_module(features: Array, counts: Array) -> Array:
    """Return the coefficients with the least squared relative error.

    A feature that makes up less than ``SMALLEST_SHARE`` of every row is left out.
    """
    kept = np.ones(features.shape[1], dtype=bool)
    weight = 1 / np.maximum(counts, 1)
    while True:
        scaled = features[:, kept] * weight[:, None]
        scale = np.linalg.norm(scaled, axis=0)
        found = np.zeros(features.shape[1])
        found[kept] = nnls(scaled / scale, counts * weight)[0] / scale
        share = (features * found * weight[:, None]).max(axis=0)
        small = kept & (share < SMALLEST_SHARE)
        if not small.any():
            return found
        kept &= ~small


def fit(
    tables: Mapping[str, pd.DataFrame], chosen: Mapping[str, NDArray[np.bool_]]
) -> Coefficients:
    """Return the coefficients of every module, by the name of the feature; zeros are left out."""
    return {
        module: {
            resource: {
                name: float(f"{value:.6g}")
                for name, value in zip(FEATURES[module], fit_module(*rows), strict=True)
                if value > 0
            }
            for resource, rows in resources.items()
        }
        for module, resources in module_rows(tables, chosen).items()
    }


def predict(kind: str, table: pd.DataFrame, coefficients: Coefficients) -> dict[str, Array]:
    """Return the LUTs and flip-flops of layers, shape (rows,) each."""
    total = {resource: np.zeros(len(table)) for resource in RESOURCES}
    for use in LAYERS[kind].cost(read_columns(kind, table), True).modules:
        for resource in RESOURCES:
            for name, value in coefficients[use.module][resource].items():
                total[resource] += use.copies * value * FEATURES[use.module][name](use.sizes)
    return total


def errors(
    tables: Mapping[str, pd.DataFrame],
    chosen: Mapping[str, NDArray[np.bool_]],
    coefficients: Coefficients,
) -> dict[str, dict[str, list[float]]]:
    """Return for each kind and resource the median and 95th percentile error, in percent."""
    found: dict[str, dict[str, list[float]]] = {}
    for kind, table in tables.items():
        part = table[chosen[kind]]
        if not part["LUT"].any():
            continue  # a concat takes none
        for resource, values in predict(kind, part, coefficients).items():
            error = 100 * np.abs(values / part[resource].to_numpy() - 1)
            quantiles = [round(float(q), 2) for q in np.quantile(error, [0.5, 0.95])]
            found.setdefault(kind, {})[resource] = quantiles
    return found


def main() -> None:
    """Fit, print the error on layers held out, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of golden_layers_<kind>.parquet")
    parser.add_argument("--out", type=Path, default=Path("devices/fpga/coefficients.json"))
    options = parser.parse_args()
    tables = golden_kinds(options.folder)
    out = {kind: held_out(kind, table) for kind, table in tables.items()}
    train = {kind: ~rows for kind, rows in out.items()}
    everything = {kind: np.ones(len(table), dtype=bool) for kind, table in tables.items()}
    judged = errors(tables, out, fit(tables, train))
    sources = {
        kind: hashlib.sha256(
            (options.folder / f"golden_layers_{kind}.parquet").read_bytes()
        ).hexdigest()
        for kind in tables
    }
    card: dict[str, Any] = {
        "what": "coefficients of LUTs and flip-flops, by module, resource and feature",
        "source": "rows of fpgaConvNet's model (chisel back end, linear resource models), sha256",
        "sources": sources,
        "word_lengths": "8 and 16 bits; others are extrapolated",
        "method": "non-negative least squares on the relative error of each module",
        "held_out": "a fifth of the layers; [median, 95th percentile] error of a layer, percent",
        "error_pct": judged,
        "refit": "python benchmarks/fpga_fit.py FOLDER",
    }
    for kind, error in judged.items():
        print(kind, *(f"{name} {median}% / {high}%" for name, (median, high) in error.items()))
    content = {"card": card, "modules": fit(tables, everything)}
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
