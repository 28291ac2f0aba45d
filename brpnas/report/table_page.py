"""The page of a table that was measured: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from brpnas.costs import COST_PREFIXES, is_positive
from brpnas.datasets import Table, read_table
from brpnas.errors import UserError
from brpnas.report.conditions import card_conditions
from brpnas.report.drawing import graph_svg
from brpnas.report.interactive import Network, Plot, axis, hover, points
from brpnas.report.rendering import render
from brpnas.report.summary import Axes, Curve, Facts, Summary
from brpnas.report.writing import write_page
from brpnas.resolver import SPACES

__all__ = ["summarise_table", "write_table_report"]

_TOP = 10
_SHOWN = 100  # networks with a drawing of their own: more would make the page heavy
_POINTS = 1000


def write_table_report(path: Path, out: Path) -> Path:
    """Write the page of a table.

    Args:
        path: of the table, such as one that ``brpnas measure`` made.
        out: the page.

    Returns:
        The page's path.

    Raises:
        UserError: not a table, one without numbers, or the page cannot be written.
    """
    write_page(out, _render(read_table(path)))
    return out


def summarise_table(path: Path) -> Summary:
    """Return what a table tells.

    Raises:
        UserError: not a table, or one without numbers.
    """
    table = read_table(path)
    metric, order = _ordered(table)
    networks = _networks(table, [metric], order[:_SHOWN].tolist())
    return Summary(
        kind="Measured tables",
        found=_found(table, metric),
        asked=[("Title", table.card.title), ("Space", table.card.space), ("Metric", metric)],
        device=card_conditions(table.card),
        command=table.card.rebuild,
        provenance=_provenance(table),
        curves=[_distribution(table, metric, order, {one.row for one in networks})],
        networks=networks,
    )


def _render(table: Table) -> str:
    metric, order = _ordered(table)
    spread = f"{metric}_std"
    metrics = [metric, *([spread] if spread in table.metrics else [])]
    shown = _networks(table, metrics, order[:_SHOWN].tolist())
    curve = _distribution(table, metric, order, {one.row for one in shown})
    trace = points(metric, 0, curve.x, curve.y, curve.texts, curve.keys)
    layout = {"xaxis": axis(curve.axes.across), "yaxis": axis(curve.axes.up), "showlegend": False}
    note = "Point at a network for its name, click to see it."
    if len(order) > _SHOWN:
        note += f" The {_SHOWN} least can be clicked."
    plots = [Plot(curve.axes.title, [trace], layout, note)]
    failed = list(table.frame["error"]) if "error" in table.metrics else []
    described = table.describe().to_dict("index")
    return render(
        "table.html",
        plots=plots,
        title=table.card.title or table.name,
        source=table.card.source,
        found=_found(table, metric),
        intact=table.intact(),
        metric=metric,
        metrics=metrics,
        count=len(table),
        top=shown[:_TOP],
        shown=shown,
        errors=[(row, text) for row, text in enumerate(failed, 1) if isinstance(text, str)],
        columns=[
            (
                name,
                [float(one[key]) for key in ("count", "min", "median", "max")],
                _note(table, name),
            )
            for name, one in described.items()
        ],
        device=card_conditions(table.card),
        command=table.card.rebuild,
        provenance=_provenance(table),
    )


def _note(table: Table, column: object) -> str:
    return table.card.columns.get(str(column), "")


def _ordered(table: Table) -> tuple[str, NDArray[np.int64]]:
    """Return the column worth most of a look, and the rows that have it, the least first."""
    numeric = [str(name) for name in table.describe().index]
    ranked = sorted(
        numeric, key=lambda name: (not name.startswith(COST_PREFIXES), not is_positive(name))
    )
    for name in ranked:
        values = table.metric(name, minimum_rows=0)
        rows = np.flatnonzero(np.isfinite(values))
        if len(rows):
            return name, rows[np.argsort(values[rows], kind="stable")]
    raise UserError(f"{table.name}: no column with numbers to show")


def _found(table: Table, metric: str) -> Facts:
    values = table.metric(metric)
    known = values[np.isfinite(values)]
    return [
        ("networks", len(table)),
        (f"have {metric}", len(known)),
        (f"least {metric}", float(known.min())),
        (f"median {metric}", float(np.median(known))),
        (f"most {metric}", float(known.max())),
    ]


def _distribution(table: Table, metric: str, order: NDArray[np.int64], shown: set[int]) -> Curve:
    """Return the share of networks within each value; of very many, some."""
    picked = np.unique(np.linspace(0, len(order) - 1, min(_POINTS, len(order))).astype(int))
    picked = np.union1d(picked, np.arange(min(_SHOWN, len(order))))
    values = table.metric(metric)[order[picked]]
    rows = order[picked].tolist()
    archs = table.archs
    return Curve(
        Axes(f"Networks by {metric}", metric, "share of networks within it, %"),
        x=values,
        y=100 * (picked + 1) / len(order),
        texts=[
            hover(archs[row], [(metric, value)])
            for row, value in zip(rows, values.tolist(), strict=True)
        ],
        keys=[str(row) if row in shown else None for row in rows],
    )


def _networks(table: Table, metrics: list[str], rows: list[int]) -> list[Network]:
    columns = {name: table.metric(name, minimum_rows=0) for name in metrics}
    archs = table.archs
    return [
        Network(
            key=str(row),
            title=f"Row {row + 1}",
            text=archs[row],
            figures=[(name, float(values[row])) for name, values in columns.items()],
            row=row,
            drawing=_drawing(table, archs[row]),
        )
        for row in rows
    ]


def _drawing(table: Table, arch: str) -> Markup | None:
    """Draw a network of a known space."""
    if table.key != "arch" or table.card.space not in SPACES:
        return None
    try:
        space = SPACES[table.card.space]()
        return Markup(graph_svg(space.graph(space.parse(arch))))  # noqa: S704 - it escapes names
    except UserError:  # of another space than the card says
        return None


def _provenance(table: Table) -> Facts:
    known = {"source": table.card.source, "table sha256": table.card.sha256}
    return [(name, value) for name, value in known.items() if value]
