"""What each part of the predictors is worth.

    python benchmarks/ablation.py nasbench201.parquet --column '*sd855_cpu*' --column '*fpga*'

fits the default predictor to 900 + 100 rows of each column, whole and with one part taken away,
and prints the shares within 5% and 10% and Spearman's correlation on all other rows: medians over
the seeds. Parts of the Gaussian process are taken away from it alone, those of the graph network
from that alone, so that the other does not make up for them.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brpnas.datasets import open_table
from brpnas.judging import Case, draw, judge, rows_to_use, try_out
from brpnas.predictors import EnsembleRegressor, GCNRegressor, GCNSize, GPRegressor, Predictor
from brpnas.predictors import _network as network
from brpnas.predictors import _process as process
from brpnas.predictors import gp as gp_module
from brpnas.predictors._batch import GraphBatch
from brpnas.predictors._scale import Scale
from brpnas.resolver import SPACES, parse_archs, resolve
from brpnas.spaces import Graph

Change = contextlib.AbstractContextManager[object]


def _views(*kept: str) -> Change:
    return mock.patch.object(gp_module, "VIEWS", kept)


def _gaussian() -> Change:
    return mock.patch.object(process.Process, "_weigh", return_value=None)


def _averaged(slope: Tensor) -> Tensor:
    return slope.mean().expand_as(slope)


def _columns_alike() -> Change:
    """Learn one length for each view instead of one for each of its columns."""
    learnt = process.Kernel.parameters

    def tied(kernel: process.Kernel) -> list[Tensor]:
        for view in kernel.views:
            view.requires_grad_(True)
            view.register_hook(_averaged)  # type: ignore[no-untyped-call]
        return learnt(kernel)

    return mock.patch.object(process.Kernel, "parameters", tied)


def _one_way() -> Change:
    """Hear nothing against the edges."""
    both_ways = network._collect

    def collect(x: Tensor, alive: Tensor, adjacency: Tensor) -> list[list[Tensor]]:
        there, back = both_ways(x, alive, adjacency)
        return [there, [torch.zeros_like(one) for one in back]]

    return mock.patch.object(network, "_collect", collect)


def _no_residual() -> Change:
    """Pass on what a layer adds, without what it adds to."""
    added = network._Messages.forward

    def forward(layer: network._Messages, h: Tensor, batch: GraphBatch) -> Tensor:
        return added(layer, h, batch) - h

    return mock.patch.object(network._Messages, "forward", forward)


def _no_logarithm() -> Change:
    def of(values: NDArray[np.float64]) -> Scale:
        return Scale(logarithm=False, mean=float(values.mean()), std=float(values.std()))

    return mock.patch.object(Scale, "of", of)


def _all_alive(graph: Graph) -> Graph:
    """Hide what survives pruning."""
    return replace(graph, live=np.ones_like(graph.live))


def _pruned(graph: Graph) -> Graph:
    """Hide what was written where it does not survive."""
    alive = graph.live
    numbers = np.where(alive[:, None], graph.numbers, 0).astype(graph.numbers.dtype)
    return replace(graph, operations=np.where(alive, graph.operations, 0), numbers=numbers)


def _same(graph: Graph) -> Graph:
    return graph


Make = Callable[[int, float], Predictor]


@dataclass(frozen=True)
class Variant:
    """A predictor, what is changed in it, and what it is shown."""

    make: Make
    change: Callable[[], Change] = contextlib.nullcontext
    shown: Callable[[Graph], Graph] = _same


def _one_member(seed: int, valid: float) -> Predictor:
    return GCNRegressor(seed, valid, GCNSize(members=1))


VARIANTS = {
    "ensemble": Variant(EnsembleRegressor),
    "gp": Variant(GPRegressor),
    "gp, only what survives": Variant(GPRegressor, shown=_pruned),
    "gp, only what was written": Variant(GPRegressor, shown=_all_alive),
    "gp, without the wiring": Variant(GPRegressor, lambda: _views("written", "surviving")),
    "gp, noise without outliers": Variant(GPRegressor, _gaussian),
    "gp, columns count alike": Variant(GPRegressor, _columns_alike),
    "gp, without logarithm": Variant(GPRegressor, _no_logarithm),
    "gcn": Variant(GCNRegressor),
    "gcn, only what survives": Variant(GCNRegressor, shown=_pruned),
    "gcn, only what was written": Variant(GCNRegressor, shown=_all_alive),
    "gcn, edges one way": Variant(GCNRegressor, _one_way),
    "gcn, without residuals": Variant(GCNRegressor, _no_residual),
    "gcn, without logarithm": Variant(GCNRegressor, _no_logarithm),
    "gcn, one network": Variant(_one_member),
}


def main() -> None:
    """Print a table for each column."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--column", action="append", required=True, metavar="GLOB")
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    parser.add_argument("--train", type=int, default=900)
    parser.add_argument("--valid", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    table, space = open_table(options.table), resolve("space", options.space, SPACES)()
    graphs = [space.graph(arch) for arch in parse_archs(table, space)]
    for column in (one for one in table.metrics if _named(one, options.column)):
        print(f"{column}\n{'':28} within 5%  within 10%  Spearman", flush=True)
        for name in options.variant or VARIANTS:
            variant, found = VARIANTS[name], []
            selection = rows_to_use(table, column, options.train, options.valid)
            for seed in range(options.seeds):
                rows = draw(selection, seed)
                shown = [variant.shown(graphs[row]) for row in rows]
                case = Case(column, name, options.train, options.valid, seed)
                with variant.change():
                    _, trial = try_out(variant.make, shown, table.metric(column)[rows], case)
                quality = judge(trial, points=False).quality
                found.append([quality.within_5pct, quality.within_10pct, quality.spearman])
            five, ten, rank = np.median(found, 0)
            print(f"{name:28} {five:9.3f}  {ten:10.3f}  {rank:8.4f}", flush=True)


def _named(column: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(column, glob) for glob in globs)


if __name__ == "__main__":
    main()
