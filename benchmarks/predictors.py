"""How good predictors are on every latency and energy column of a table, and could be at best.

    python benchmarks/predictors.py nasbench201.parquet --predictor gcn --predictor gp --seeds 3

fits each of them to 900 + 100 rows of each column, judges it on all others, and prints medians
over the seeds: the shares within 5% and 10%, Spearman, the share inside the 90% interval, the
seconds of a fit. Before them stands what a perfect predictor would reach, which knows every
network's true cost but not the noise of the one measurement that it is judged by.

The ceiling is estimated from networks that differ in dead branches only: they are one network
once it is pruned, and a table that measured each of them has repeated one measurement. They are
equal in ``space.deployed`` and in the operations that survive: ``deployed`` alone also merges
networks that repeat some work, which phones do not share (on the real table this costs the ceiling
up to 0.045). A row counts as predicted by the median of the others of its group, n - 1 rows; that
median has an error of its own, so the difference is larger than the perfect predictor's. Both
errors add up as variances: dividing by sqrt(1 + pi / 2 / (n - 1)) takes the median's part out (by
the variance of the median of normal values). Not the mean: it is as good for normal noise, but a
column with a few wild measurements would get a ceiling below what predictors reach (SD450). Groups
of fewer than 5 are left out: a median of 2 or 3 does not withstand one of them.

Small networks are in groups more often than large ones, and noisier. So the shares are averaged
over fifths of the column, by cost. What the groups cannot tell is whether networks without any
dead part are measured as noisily as those of the same cost with some: it is an estimate, to a
hundredth or so.

There is no ceiling where groups say nothing about noise:

- the table copies values over a group: more than a fifth of the pairs are equal;
- the device runs dead branches, so that the networks of a group really differ: what is written
  explains more than a tenth of the variance within groups (ridge regression on the operations of
  the graph's nodes, groups left out in turn; on the real table 0.01 at most where pruned networks
  were measured, 0.2 at least elsewhere);
- too few groups in some fifth.
"""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.comparing import Plan, compare
from brpnas.costs import COST_PREFIXES
from brpnas.datasets import Table, open_table
from brpnas.predictors import PREDICTORS
from brpnas.resolver import SPACES, make_executor, parse_archs, resolve
from brpnas.spaces import FiniteSpace, Graph

SHARES = (0.05, 0.10)
SMALLEST_GROUP, PARTS, FEWEST_IN_PART = 5, 5, 50
MOST_COPIED, MOST_EXPLAINED = 0.2, 0.1
FOLDS = 5


def ceiling(
    values: NDArray[np.float64], groups: NDArray[np.int64], written: NDArray[np.float64]
) -> tuple[float, ...] | None:
    """Return the shares within 5% and 10% that a perfect predictor would reach.

    Args:
        values: of a column, shape (rows,), none missing.
        groups: number of the network that is left after pruning, shape (rows,).
        written: features of the network as written, shape (rows, features).

    Returns:
        A share for each of `SHARES`; None where the groups do not tell.
    """
    error, centre = (np.full(len(values), np.nan) for _ in range(2))
    for rows in pd.Series(groups).groupby(groups).indices.values():
        count = len(rows)
        if count >= SMALLEST_GROUP:
            others = [np.median(np.delete(values[rows], place)) for place in range(count)]
            error[rows] = np.abs(values[rows] - others) / np.sqrt(1 + np.pi / 2 / (count - 1))
            centre[rows] = np.median(values[rows])
    known = np.isfinite(error)
    if not known.any() or copied(values[known], groups[known]) > MOST_COPIED:
        return None
    if explained(np.log(values[known]), groups[known], written[known]) > MOST_EXPLAINED:
        return None
    bounds = np.quantile(values, np.arange(1, PARTS) / PARTS)
    part = np.searchsorted(bounds, centre)
    inside = [known & (part == number) for number in range(PARTS)]
    if min(rows.sum() for rows in inside) < FEWEST_IN_PART:
        return None
    return tuple(
        float(np.mean([np.mean((error <= share * values)[rows]) for rows in inside]))
        for share in SHARES
    )


def copied(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """Return the share of equal values among all pairs within groups."""
    frame = pd.DataFrame({"group": groups, "value": values})

    def pairs(*by: str) -> float:
        sizes = frame.groupby(list(by)).size().to_numpy()
        return float((sizes * (sizes - 1) / 2).sum())

    return pairs("group", "value") / pairs("group")


def explained(
    values: NDArray[np.float64], groups: NDArray[np.int64], written: NDArray[np.float64]
) -> float:
    """Return the share of the variance within groups that what is written explains.

    Differences beyond the 99th percentile count as that: wild measurements hide the rest.
    """
    table = np.column_stack([values, written])
    table = table - pd.DataFrame(table).groupby(groups).transform("mean").to_numpy()
    target, features = table[:, 0], table[:, 1:]
    most = np.quantile(np.abs(target), 0.99)
    target = target.clip(-most, most)
    if not target.any():
        return 0.0
    fold = np.random.default_rng(0).integers(FOLDS, size=groups.max() + 1)[groups]
    left = target.copy()
    for number in range(FOLDS):
        rows, out = features[fold != number], fold == number
        inner = rows.T @ rows + np.eye(rows.shape[1])
        weights = np.linalg.solve(inner, rows.T @ target[fold != number])
        left[out] -= features[out] @ weights
    return float(1 - (left**2).sum() / (target**2).sum())


def operations(graphs: list[Graph]) -> NDArray[np.float64]:
    """Return which operation each node has, as 0 and 1, shape (graphs, nodes * operations).

    Graphs with fewer nodes than others are filled up with nodes that have none.
    """
    nodes = max(len(graph.operations) for graph in graphs)
    kinds = len(graphs[0].schema.operations)
    table = np.zeros((len(graphs), nodes, kinds))
    for row, graph in enumerate(graphs):
        table[row, np.arange(len(graph.operations)), graph.operations] = 1
    return table.reshape(len(graphs), -1)


def pruned(space: FiniteSpace[Any], arch: object, graph: Graph) -> str:
    """Return a text that networks share which differ in dead branches only."""
    return f"{space.deployed(arch)} {np.sort(graph.operations[graph.live]).tolist()}"


def cost_columns(table: Table, globs: list[str]) -> list[str]:
    """Return the latency and energy columns that one of the globs names; all without globs."""
    return [
        name
        for name in table.metrics
        if name.startswith(COST_PREFIXES)
        and (not globs or any(fnmatchcase(name, glob) for glob in globs))
    ]


def main() -> None:
    """Print, for each column, the ceiling and a line for each predictor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--column", action="append", default=[], metavar="GLOB")
    parser.add_argument("--predictor", action="append", choices=PREDICTORS)
    parser.add_argument("--train", type=int, default=900)
    parser.add_argument("--valid", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder that keeps every fit")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    table, space = open_table(options.table), resolve("space", options.space, SPACES)()
    columns = cost_columns(table, options.column)
    names = options.predictor or [name for name in PREDICTORS if name != "eagle"]  # it takes hours
    archs = parse_archs(table, space)
    graphs = [space.graph(arch) for arch in archs]
    texts = [pruned(space, arch, graph) for arch, graph in zip(archs, graphs, strict=True)]
    groups, written = pd.factorize(np.array(texts))[0], operations(graphs)
    with make_executor("processes", options.jobs) as executor:
        found = compare(
            table,
            space,
            columns,
            {name: PREDICTORS[name].regressor for name in names},
            Plan((options.train,), options.valid, options.seeds),
            options.out,
            executor=executor,
            resume=options.resume,
        )
    print(f"{'':12} within 5%  within 10%  Spearman  in 90%    fit s")
    medians = found.medians()
    for column, selection in found.selections.items():
        rows = selection.rows
        best = ceiling(table.metric(column)[rows], groups[rows], written[rows])
        print(column)
        print(f"{'(at best)':12} {_cells([*(best or (None, None))], [9, 11])}")
        for median in (row for row in medians if row["column"] == column):
            measures = ("within_5pct", "within_10pct", "spearman", "in_90pct", "fit_s")
            cells = _cells([median[name] for name in measures], [9, 11, 9, 7, 8])
            print(f"{median['predictor']:12} {cells} {median['error'] or ''}".rstrip())


def _cells(values: list[float | None], widths: list[int]) -> str:
    return " ".join(
        f"{'' if value is None else f'{value:.3f}':>{width}}"
        for value, width in zip(values, widths, strict=True)
    )


if __name__ == "__main__":
    main()
