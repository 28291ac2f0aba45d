"""Pictures of a front: what was kept, and everything that was tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brpnas.report.canvas import LINE, LOOKS, add_legend, new_canvas, plain, save_figure
from brpnas.report.lowrank_history import LowRankHistory
from brpnas.report.lowrank_words import (
    OBJECTIVE_WORDS,
    USELESS,
    cost_title,
    judged_by,
    losses_of,
    shares,
)

__all__ = ["save_lowrank_plots"]


def save_lowrank_plots(history: LowRankHistory, folder: Path) -> None:
    """Draw what a search found and what it tried.

    Args:
        history: of the search.
        folder: gets ``front.png``, of a search that is finished, and ``versions.png``.
    """
    if history.original is not None:
        save_figure(_front(history, history.original), folder / "front.png")
    save_figure(_versions(history), folder / "versions.png")


def _front(history: LowRankHistory, original: dict[str, float]) -> Figure:
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


def _versions(history: LowRankHistory) -> Figure:
    figure, axes = new_canvas()
    costs = shares(history, history.values(history.cost))
    losses = losses_of(history.values(history.objective))
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


def _finish(axes: Axes, history: LowRankHistory) -> None:
    axes.set_xlabel(plain(cost_title(history)))
    target = history.record["arguments"].get("target")
    if target and not np.isnan(history.whole):
        axes.axvline(100 * float(target), color=LINE, linestyle="--", linewidth=1, label="target")
    add_legend(axes)
