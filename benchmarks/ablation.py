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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from unittest import mock

import numpy as np

from brpnas.datasets import open_table
from brpnas.judging import Case, draw, judge, rows_to_use, try_out
from brpnas.predictors import EnsembleRegressor, GCNRegressor, GCNSize, GPRegressor, Predictor
from brpnas.predictors import _process as process
from brpnas.predictors import gp as gp_module
from brpnas.resolver import SPACES, parse_archs, resolve
from brpnas.spaces import Graph


@contextlib.contextmanager
def _views(*kept: str) -> Iterator[None]:
    with mock.patch.object(gp_module, "VIEWS", kept):
        yield


def _gaussian() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(process.Process, "_weigh", return_value=None)


def _as_started() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(process, "_RATE", 0.0)


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
    change: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
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
    "gp, columns count alike": Variant(GPRegressor, _as_started),
    "gcn": Variant(GCNRegressor),
    "gcn, only what survives": Variant(GCNRegressor, shown=_pruned),
    "gcn, only what was written": Variant(GCNRegressor, shown=_all_alive),
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
