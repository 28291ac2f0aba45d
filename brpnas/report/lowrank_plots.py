"""Interactive plots of a search for low-rank versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.report.expected import Round
from brpnas.report.fronts import unbeaten
from brpnas.report.interactive import Network, Plot, axis, hover, line, points
from brpnas.report.lowrank_history import LowRankHistory
from brpnas.report.lowrank_words import (
    OBJECTIVE_WORDS,
    USELESS,
    cost_title,
    judged_by,
    losses_of,
    shares,
)
from brpnas.report.summary import Axes, Curve

__all__ = ["expected_plot", "front_plot", "lowrank_curves", "versions_plot"]

_HOW = "Point at a version for its layers and figures, click to see them as a list."


def front_plot(
    history: LowRankHistory, original: dict[str, float], versions: list[Network]
) -> Plot:
    """Draw the finished versions, by the figure that they are judged by.

    Args:
        history: of a search that is finished.
        original: metrics of the network as it is.
        versions: on the page, in the order of the front.
    """
    name, words = judged_by(history)
    costs, values = _finished(history)
    texts = [hover(f"{one.title}: {one.text}", one.figures) for one in versions]
    whole = original[name]
    data = [
        line("front", costs, values, 0),
        points("versions", 0, costs, values, texts, [one.key for one in versions]),
        points("as it is", 3, [100], [whole], [hover("as it is", [(name, whole)])], [None]),
    ]
    layout: dict[str, Any] = {"xaxis": axis(cost_title(history)), "yaxis": axis(f"{words}, %")}
    layout["shapes"] = [_rule(y=whole), *_target(history)]
    below, note = int((values < whole - USELESS).sum()), _HOW
    if below:  # they would squeeze the others together
        layout["yaxis"]["range"] = [whole - USELESS, whole + USELESS / 10]
        note = f"{below} lie below this picture (double-click: all). {note}"
    return Plot(f"The front: {words} at each cost", data, layout, note, "front.png")


def _finished(history: LowRankHistory) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return costs and judged figures of the finished versions, shape (versions,) each."""
    name, _ = judged_by(history)
    costs = shares(history, np.array([one.figures[history.cost] for one in history.front]))
    return costs, np.array([one.figures[name] for one in history.front])


def lowrank_curves(history: LowRankHistory, networks: dict[int, Network]) -> list[Curve]:
    """Return what is compared with other searches.

    Args:
        history: of the search.
        networks: on the page, by their row in the trace.
    """
    kept = [one.step for one in history.front]
    best = history.unbeaten()
    agreements = history.values("agreement_pct")[best]
    costs = shares(history, history.values(history.cost)[best])
    curves = []
    if history.original is not None:
        words = judged_by(history)[1]
        title = f"The front: {words} at each cost"
        curves.append(_curve(title, history, f"{words}, %", *_finished(history), networks, kept))
    title, up = (
        "Versions that no other one beats, before any repair",
        "agreement with the original, %",
    )
    curves.append(_curve(title, history, up, costs, agreements, networks, best.tolist()))
    if history.original is not None:
        known = _covered(history)
        curves.append(
            Curve(
                Axes(
                    "How good the front was after so many versions",
                    "versions evaluated",
                    "agreement, %, mean over all costs",
                ),
                x=np.arange(1, len(known) + 1),
                y=known,
                texts=[
                    hover("", [("versions", row + 1), ("mean agreement, %", value)])
                    for row, value in enumerate(known)
                ],
                keys=[None] * len(known),
                shape="hv",
            )
        )
    return curves


def _curve(
    title: str,
    history: LowRankHistory,
    up: str,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    networks: dict[int, Network],
    rows: list[int],
) -> Curve:
    shown = [networks[row] for row in rows]
    texts = [hover(f"{one.title}: {one.text}", one.figures) for one in shown]
    return Curve(Axes(title, cost_title(history), up), x, y, texts, [one.key for one in shown])


def _covered(history: LowRankHistory) -> list[float]:
    """Return what agreement can be had, percent, mean over all costs up to the original's.

    One value after each evaluated version: the hypervolume (Zitzler and Thiele, "Multiobjective
    optimization using evolutionary algorithms", 1998) with agreement 0 at cost 0 as the worst,
    as a share of the whole rectangle.
    """
    costs = history.values(history.cost) / history.whole
    agreements = history.values("agreement_pct")
    known = []
    for count in range(1, len(costs) + 1):
        order = unbeaten(costs[:count], agreements[:count])
        ends = np.clip(np.append(costs[order], 1.0), 0, 1)
        known.append(float((np.diff(ends) * agreements[order]).sum()))
    return known


def versions_plot(history: LowRankHistory, networks: dict[int, Network]) -> Plot:
    """Draw every evaluated version, by what the search minimised.

    Args:
        history: of the search.
        networks: on the page, by their row in the trace.
    """
    costs = shares(history, history.values(history.cost))
    losses = losses_of(history.values(history.objective))
    best = history.unbeaten()
    data = [line("beaten by none", costs[best], losses[best])]
    origins = history.trace["origin"].to_numpy()
    figures = [
        [("number", row + 1), (cost_title(history), cost), ("loss", loss)]
        for row, (cost, loss) in enumerate(zip(costs.tolist(), losses.tolist(), strict=True))
    ]
    archs = history.trace["arch"].tolist()
    for place, origin in enumerate(dict.fromkeys(origins.tolist())):
        rows = np.flatnonzero(origins == origin).tolist()
        data.append(
            points(
                f"{origin} ({len(rows)})",
                place,
                costs[rows],
                losses[rows],
                [hover(archs[row], figures[row]) for row in rows],
                [networks[row].key if row in networks else None for row in rows],
            )
        )
    upside_down = _loss_axis(OBJECTIVE_WORDS[history.objective], losses)
    layout = {"xaxis": axis(cost_title(history)), "yaxis": upside_down, "shapes": _target(history)}
    repaired = history.record["arguments"].get("repair") not in (None, "none")
    note = ("Better is higher. " + ("Before the repair. " if repaired else "")) + _HOW
    title = "Every evaluated version, by what the search minimised"
    return Plot(title, data, layout, note, "versions.png")


def expected_plot(
    history: LowRankHistory, rounds: Sequence[Round], networks: dict[int, Network]
) -> Plot:
    """Draw the losses that were measured against those that were expected.

    Args:
        history: of the search.
        rounds: at least one.
        networks: on the page, by their row in the trace.
    """
    archs, words = history.trace["arch"].tolist(), OBJECTIVE_WORDS[history.objective]
    data = []
    for place, one in enumerate(rounds):
        expected, measured = losses_of(one.expected), losses_of(one.measured)
        losses = zip(one.rows.tolist(), expected.tolist(), measured.tolist(), strict=True)
        texts = [
            hover(
                archs[row],
                [
                    ("number", row + 1),
                    ("round", one.number),
                    ("expected loss", before),
                    ("loss", after),
                ],
            )
            for row, before, after in losses
        ]
        keys = [networks[row].key if row in networks else None for row in one.rows.tolist()]
        data.append(points(f"round {one.number}", place, expected, measured, texts, keys))
    known = np.concatenate([[*trace["x"], *trace["y"]] for trace in data])
    ends = np.nanquantile(known, [0, 1])
    data.insert(0, line("as expected", ends, ends, dash="dot"))
    layout = {
        "xaxis": _loss_axis(f"expected {words}", known),
        "yaxis": _loss_axis(f"measured {words}", known),
    }
    note = "Better is higher, and further right. Above the line: better than expected. " + _HOW
    return Plot("Expected and measured", data, layout, note)


def _loss_axis(title: str, losses: NDArray[np.float64]) -> dict[str, Any]:
    """Return an axis on which the less is the higher, or further right."""
    ticks = _ticks(losses)
    texts = [f"{tick:g}" for tick in ticks]
    return axis(title, type="log", autorange="reversed", tickvals=ticks, ticktext=texts)


def _ticks(values: NDArray[np.float64]) -> list[float]:
    """Return round numbers for an axis of powers: plotly's own would lie on each other."""
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    first, last = np.floor(np.log10(known.min())), np.ceil(np.log10(known.max()))
    steps = (1, 3) if last - first < 4 else (1,)
    return [step * 10.0**power for power in range(int(first), int(last) + 1) for step in steps]


def _target(history: LowRankHistory) -> list[dict[str, Any]]:
    target = history.record["arguments"].get("target")
    return [_rule(x=100 * float(target))] if target and not np.isnan(history.whole) else []


def _rule(x: float | None = None, y: float | None = None) -> dict[str, Any]:
    """Return a dashed line across the plot, at a place of one axis."""
    from_x, to_x = (0, 1) if x is None else (x, x)
    from_y, to_y = (0, 1) if y is None else (y, y)
    return {
        "type": "line",
        **{"x0": from_x, "x1": to_x, "xref": "paper" if x is None else "x"},
        **{"y0": from_y, "y1": to_y, "yref": "paper" if y is None else "y"},
        "line": {"color": "var(--soft)", "dash": "dash", "width": 1},
    }
