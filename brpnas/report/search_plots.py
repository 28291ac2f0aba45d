"""Interactive plots of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.costs import is_positive
from brpnas.report.history import History, good_range
from brpnas.report.interactive import Plot, axis, hover, line, points
from brpnas.search import on_front

__all__ = ["cost_columns", "course_plots", "front_plot", "front_rows"]


def cost_columns(history: History) -> list[str]:
    """Return the costs that networks were evaluated for: those with a limit first."""
    objectives = (history.accuracy, history.report)
    known = [
        name for name in map(str, history.trace) if is_positive(name) and name not in objectives
    ]
    return list(dict.fromkeys([*dict(history.limits), *known]))


def front_rows(history: History, cost: str) -> NDArray[np.int64]:
    """Return the rows of the networks that no other one beats, the cheapest first."""
    costs, accuracy = history.values(cost), history.values(history.accuracy)
    rows = np.flatnonzero(np.isfinite(costs) & np.isfinite(accuracy))
    rows = rows[on_front(costs[rows], accuracy[rows])] if len(rows) else rows
    return rows[np.argsort(costs[rows], kind="stable")]


def front_plot(history: History, cost: str, keys: Sequence[str | None]) -> Plot:
    """Draw accuracy against a cost, with the front and the limit.

    Args:
        history: of the search.
        cost: column.
        keys: of all networks on the page; None of those that it does not show.
    """
    costs, accuracy = history.values(cost), history.values(history.accuracy)
    rows = front_rows(history, cost)
    data = [line("front", costs[rows], accuracy[rows], shape="hv")]
    data += _origins(history, costs, keys)
    layout: dict[str, Any] = {"xaxis": axis(cost), "yaxis": axis(history.accuracy)}
    limit = dict(history.limits).get(cost)
    if limit is not None:
        layout["shapes"] = [
            {
                **{"type": "line", "x0": limit, "x1": limit, "yref": "paper", "y0": 0, "y1": 1},
                "line": {"color": "var(--soft)", "dash": "dash", "width": 1},
            }
        ]
    note = "Front: no other network is both cheaper and better. " + _HOW
    if limit is not None:
        note = f"Dashed: the limit, {limit:g}. " + note
    return _limited(Plot(f"{history.accuracy} against {cost}", data, layout, note), accuracy)


def course_plots(history: History, keys: Sequence[str | None]) -> list[Plot]:
    """Draw every evaluated network in order, and the reported metric of the best so far."""
    accuracy, best = history.values(history.accuracy), history.best_so_far()
    steps = np.arange(1, len(best) + 1)
    known = best >= 0
    data = [line("best so far", steps[known], accuracy[best[known]], shape="hv")]
    data += _origins(history, steps, keys)
    layout: dict[str, Any] = {"xaxis": axis("networks evaluated")}
    layout["yaxis"] = axis(history.accuracy)
    note = ("Hollow: beyond a limit. " if history.limits else "") + _HOW
    plots = [_limited(Plot("Every evaluated network", data, layout, note), accuracy)]
    report = history.report
    if report and report != history.accuracy and known.any():
        values = history.values(report)[best[known]]
        data = [line("best so far", steps[known], values, 0, shape="hv") | {"hoverinfo": "x+y"}]
        layout = {"xaxis": axis("networks evaluated"), "yaxis": axis(report)}
        plots.append(Plot(f"{report} of the best network so far", data, layout))
    return plots


_HOW = "Point at a network for its name, click to see its cell."


def _origins(history: History, x: NDArray[Any], keys: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return the networks of each origin as a trace."""
    accuracy, within = history.values(history.accuracy), history.within()
    names = history.columns
    columns = [history.values(name).tolist() for name in names]
    figures = list(zip(*columns, strict=True))
    texts = [
        hover(arch, [("number", row + 1), *zip(names, figures[row], strict=True)])
        for row, arch in enumerate(history.trace["arch"])
    ]
    origins = history.trace["origin"].to_numpy()
    data = []
    for place, origin in enumerate(dict.fromkeys(origins.tolist())):
        rows = np.flatnonzero(origins == origin).tolist()
        named = f"{origin} ({len(rows)})"
        own = ([texts[row] for row in rows], [keys[row] for row in rows])
        data.append(points(named, place, x[rows], accuracy[rows], *own, hollow=~within[rows]))
    return data


def _limited(plot: Plot, values: NDArray[np.float64]) -> Plot:
    """Let a few very bad networks not squeeze the others together; say how many are below."""
    shown = good_range(values)
    if shown is None:
        return plot
    below = int((values < shown[0]).sum())
    layout = {**plot.layout, "yaxis": {**plot.layout["yaxis"], "range": list(shown)}}
    said = f"{below} networks lie below this picture (double-click: all). "
    return Plot(plot.title, plot.data, layout, said + plot.note)
