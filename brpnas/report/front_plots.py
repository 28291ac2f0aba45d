"""Pictures of a front: what was kept, and everything that was tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brpnas.report.canvas import LINE, LOOKS, add_legend, new_canvas, plain, save_figure
from brpnas.report.front_history import FrontHistory

__all__ = [
    "COST_WORDS",
    "OBJECTIVE_WORDS",
    "ROUNDING",
    "USELESS",
    "cost_title",
    "judged_by",
    "save_front_plots",
    "shares",
]

COST_WORDS = {"macs": "multiply-accumulates", "params": "parameters", "latency_ms": "latency"}
OBJECTIVE_WORDS = {
    "fidelity": "KL divergence from the original, nats",
    "log_likelihood": "cross-entropy with the labels, nats",
}
USELESS = 25
"""Points: a version that loses more is not worth a look."""
ROUNDING = 1e-6
"""Nats: less is rounding, and would stretch the axis."""


def judged_by(history: FrontHistory) -> tuple[str, str]:
    """Return by which figure finished versions are shown, and that in words.

    That is the accuracy where it is known, else how often they agree with the original.
    """
    if history.original is None or np.isnan(history.original["accuracy_pct"]):
        return "agreement_pct", "agreement with the original on calibration images"
    images = "test" if history.record["arguments"].get("tested") else "calibration"
    return "accuracy_pct", f"accuracy on {images} images"


def save_front_plots(history: FrontHistory, folder: Path) -> None:
    """Draw what a search found and what it tried.

    Args:
        history: of the search.
        folder: gets ``front.png``, of a search that is finished, and ``versions.png``.
    """
    if history.original is not None:
        save_figure(_front(history, history.original), folder / "front.png")
    save_figure(_versions(history), folder / "versions.png")


def _front(history: FrontHistory, original: dict[str, float]) -> Figure:
    figure, axes = new_canvas()
    name, words = judged_by(history)
    costs = shares(history, np.array([one.figures[history.cost] for one in history.front]))
    values = np.array([one.figures[name] for one in history.front])
    colour, marker = LOOKS[0]
    axes.plot(costs, values, color=colour, marker=marker, markersize=5, label="versions")
    _number(axes, np.column_stack([costs, values]))
    whole = original[name]
    axes.axhline(whole, color=LINE, linestyle=":", linewidth=1)
    axes.scatter(100, whole, s=90, marker="*", color=LINE, zorder=3, label="as it is")
    axes.set_ylabel(f"{words}, %")
    below = int((values < whole - USELESS).sum())
    if below:  # they would squeeze the others together
        axes.set_ylim(whole - USELESS, whole + USELESS / 10)
        axes.set_title(f"{below} lie below this picture", fontsize=9, loc="left")
    _finish(axes, history)
    return figure


def _versions(history: FrontHistory) -> Figure:
    figure, axes = new_canvas()
    costs = shares(history, history.values(history.cost))
    losses = np.maximum(-history.values(history.objective), ROUNDING)
    best = history.unbeaten()
    axes.plot(costs[best], losses[best], color=LINE, linewidth=1, label="beaten by none")
    for place, origin in enumerate(dict.fromkeys(history.trace["origin"])):
        colour, marker = LOOKS[place % len(LOOKS)]
        rows = (history.trace["origin"] == origin).to_numpy(bool)
        axes.scatter(
            costs[rows],
            losses[rows],
            s=20,
            alpha=0.6,
            color=colour,
            marker=marker,
            linewidths=0,
            label=f"{plain(str(origin))} ({int(rows.sum())})",
        )
    if len(best):  # a logarithmic axis needs something on it
        axes.set_yscale("log")
    axes.invert_yaxis()  # better is higher, as in the other picture
    axes.set_ylabel(OBJECTIVE_WORDS[history.objective])
    _finish(axes, history)
    kept = [one.step for one in history.front]
    _number(axes, np.column_stack([costs, losses])[kept])
    return figure


def _number(axes: Axes, points: NDArray[np.float64]) -> None:
    """Write the number of each version of the front above its point."""
    for number, (cost, value) in enumerate(points):
        axes.annotate(
            str(number),
            (cost, value),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            annotation_clip=True,
        )


def shares(history: FrontHistory, costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return costs, shape (n,), in percent of the original's, where that is known."""
    return costs if np.isnan(history.whole) else 100 * costs / history.whole


def cost_title(history: FrontHistory) -> str:
    """Return what the axis of costs shows."""
    asked, words = history.record["arguments"], COST_WORDS.get(history.cost, history.cost)
    if asked.get("device") and history.cost == "latency_ms":
        words += f" on {asked['device']}"
    if np.isnan(history.whole):
        return words + (", ms" if history.cost == "latency_ms" else "")
    return f"{words}, % of the original's"


def _finish(axes: Axes, history: FrontHistory) -> None:
    axes.set_xlabel(plain(cost_title(history)))
    target = history.record["arguments"].get("target")
    if target and not np.isnan(history.whole):
        axes.axvline(100 * float(target), color=LINE, linestyle="--", linewidth=1, label="target")
    add_legend(axes)
