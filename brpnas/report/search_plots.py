"""Interactive plots of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.costs import is_positive
from brpnas.report.expected import Round
from brpnas.report.fronts import unbeaten
from brpnas.report.interactive import Plot, axis, hover, line, points
from brpnas.report.search_history import SearchHistory, good_range

__all__ = ["cost_columns", "course_plots", "expected_plot", "front_plot", "front_rows"]


def cost_columns(history: SearchHistory) -> list[str]:
    """Return the costs that networks were evaluated for: those with a limit first."""
    objectives = (history.accuracy, history.report)
    known = [
        name for name in map(str, history.trace) if is_positive(name) and name not in objectives
    ]
    return list(dict.fromkeys([*dict(history.limits), *known]))


def front_rows(history: SearchHistory, cost: str) -> NDArray[np.int64]:
    """Return the rows of the networks that no other one beats, the cheapest first."""
    return unbeaten(history.values(cost), history.values(history.accuracy))


def front_plot(history: SearchHistory, cost: str, keys: Sequence[str | None]) -> Plot:
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
    png = "" if limit is None else f"limit_{1 + [*dict(history.limits)].index(cost)}.png"
    return _limited(Plot(f"{history.accuracy} against {cost}", data, layout, note, png), accuracy)


def expected_plot(
    history: SearchHistory, rounds: Sequence[Round], keys: Sequence[str | None]
) -> Plot:
    """Draw the accuracy of networks by their place in the order that their round expected.

    Args:
        history: of the search.
        rounds: at least one.
        keys: of all networks on the page; None of those that it does not show.
    """
    archs, name = history.trace["arch"].tolist(), history.accuracy
    # Beside each other, from the first round to the last: they share the places.
    shifts = np.linspace(-0.3, 0.3, len(rounds)) if len(rounds) > 1 else [0.0]
    data = []
    for place, (one, shift) in enumerate(zip(rounds, shifts, strict=True)):
        rows = one.rows.tolist()
        texts = [
            hover(
                archs[row],
                [
                    ("number", row + 1),
                    ("round", one.number),
                    ("expected as", f"{at} of {len(rows)}"),
                    (name, value),
                ],
            )
            for row, at, value in zip(rows, one.places.tolist(), one.measured.tolist(), strict=True)
        ]
        own = (texts, [keys[row] for row in rows])
        data.append(points(f"round {one.number}", place, one.places + shift, one.measured, *own))
    layout = {
        "xaxis": axis("place in the order that was expected, 1: the best"),
        "yaxis": axis(name),
        "showlegend": len(rounds) <= _MOST_NAMED,
    }
    note = "At each place the rounds from the first, left, to the last. " + _HOW
    measured = np.concatenate([one.measured for one in rounds])
    return _limited(Plot("Expected order and measurement", data, layout, note), measured)


def course_plots(history: SearchHistory, keys: Sequence[str | None]) -> list[Plot]:
    """Draw every evaluated network in order, and the reported metric of the best so far."""
    accuracy, best = history.values(history.accuracy), history.best_so_far()
    steps = np.arange(1, len(best) + 1)
    known = best >= 0
    data = [line("best so far", steps[known], accuracy[best[known]], shape="hv")]
    data += _origins(history, steps, keys)
    layout: dict[str, Any] = {"xaxis": axis("networks evaluated")}
    layout["yaxis"] = axis(history.accuracy)
    note = ("Hollow: beyond a limit. " if history.limits else "") + _HOW
    plots = [_limited(Plot("Every evaluated network", data, layout, note, "trace.png"), accuracy)]
    report = history.report
    if report and report != history.accuracy and known.any():
        values = history.values(report)[best[known]]
        data = [line("best so far", steps[known], values, 0, shape="hv") | {"hoverinfo": "x+y"}]
        layout = {"xaxis": axis("networks evaluated"), "yaxis": axis(report)}
        title = f"{report} of the best network so far"
        plots.append(Plot(title, data, layout, png="best_so_far.png"))
    return plots


_MOST_NAMED = 20  # rounds: a legend of more would leave phones no room for the plot
_HOW = "Point at a network for its name, click to see its cell."


def _origins(
    history: SearchHistory, x: NDArray[Any], keys: Sequence[str | None]
) -> list[dict[str, Any]]:
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
    return replace(plot, layout=layout, note=said + plot.note)
