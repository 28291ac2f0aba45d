"""Plots of a search, as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brpnas.report.canvas import LINE, LOOKS, add_legend, new_canvas, plain, save_figure
from brpnas.report.search_history import SearchHistory, good_range

__all__ = ["save_search_plots"]


def save_search_plots(history: SearchHistory, folder: Path) -> dict[str, Path]:
    """Draw what a search did.

    Args:
        history: of the search.
        folder: gets the PNG files.

    Returns:
        Each plot's file by its title: the accuracies in the order of evaluation; the reported
        metric of the best so far; accuracy against each limited metric.
    """
    plots = {"Every evaluated network": save_figure(_trace(history), folder / "trace.png")}
    if history.report and history.report != history.accuracy:
        figure = _best_so_far(history, history.report)
        plots[f"{history.report} of the best network so far"] = save_figure(
            figure, folder / "best_so_far.png"
        )
    for place, (column, limit) in enumerate(history.limits, start=1):
        title = f"{history.accuracy} against {column}"
        plots[title] = save_figure(
            _trade_off(history, column, limit), folder / f"limit_{place}.png"
        )
    return plots


def _trace(history: SearchHistory) -> Figure:
    figure, axes = new_canvas()
    accuracy = history.values(history.accuracy)
    steps = np.arange(1, len(accuracy) + 1)
    within = history.within()
    for origin, (colour, marker) in _looks(history).items():
        rows = (history.trace["origin"] == origin).to_numpy(bool)
        axes.scatter(
            steps[rows],
            accuracy[rows],
            s=22,
            marker=marker,
            facecolors=[colour if kept else "none" for kept in within[rows]],
            edgecolors=colour,
            linewidths=0.8,
            label=f"{origin} ({int(rows.sum())})",
        )
    best = history.best_so_far()
    known = best >= 0
    axes.step(steps[known], accuracy[best[known]], color=LINE, where="post", label="best so far")
    axes.set_xlabel("networks evaluated" + (" (hollow: beyond a limit)" if history.limits else ""))
    axes.set_ylabel(plain(history.accuracy))
    _limit_outliers(axes, accuracy)
    add_legend(axes)
    return figure


def _best_so_far(history: SearchHistory, report: str) -> Figure:
    figure, axes = new_canvas()
    best = history.best_so_far()
    steps = np.arange(1, len(best) + 1)
    known = best >= 0
    values = history.values(report)[best[known]]
    axes.step(steps[known], values, color=LOOKS[0][0], where="post")
    axes.set_xlabel("networks evaluated")
    axes.set_ylabel(plain(report))
    axes.set_title(f"of the best network so far by {plain(history.accuracy)}", fontsize=10)
    return figure


def _trade_off(history: SearchHistory, column: str, limit: float) -> Figure:
    figure, axes = new_canvas()
    costs, accuracy = history.values(column), history.values(history.accuracy)
    for origin, (colour, marker) in _looks(history).items():
        rows = (history.trace["origin"] == origin).to_numpy(bool)
        axes.scatter(costs[rows], accuracy[rows], color=colour, marker=marker, s=22, label=origin)
    axes.axvline(limit, color=LINE, linestyle="--", linewidth=1, label=f"limit {limit:g}")
    best = history.best_so_far()
    if len(best) and best[-1] >= 0:
        at = best[-1]
        axes.scatter(
            costs[at],
            accuracy[at],
            s=140,
            facecolors="none",
            edgecolors=LINE,
            linewidths=1.5,
            label="best within limits",
        )
    axes.set_xlabel(plain(column))
    axes.set_ylabel(plain(history.accuracy))
    _limit_outliers(axes, accuracy)
    add_legend(axes)
    return figure


def _looks(history: SearchHistory) -> dict[str, tuple[str, str]]:
    origins = list(dict.fromkeys(history.trace["origin"]))
    return {origin: LOOKS[place % len(LOOKS)] for place, origin in enumerate(origins)}


def _limit_outliers(axes: Axes, values: NDArray[np.float64]) -> None:
    """Let a few very bad networks not squeeze the others together; say how many are below."""
    shown = good_range(values)
    if shown is not None:
        axes.set_ylim(*shown)
        below = int((values < shown[0]).sum())
        axes.set_title(f"{below} networks lie below this picture", fontsize=9, loc="left")
