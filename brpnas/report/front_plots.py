"""Pictures of a front: what was kept, and everything that was tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brpnas.report.canvas import LINE, LOOKS, add_legend, new_canvas, plain, save_figure
from brpnas.report.front_history import FrontHistory

__all__ = ["COST_WORDS", "Picture", "judged_by", "save_front_plots"]

COST_WORDS = {"macs": "multiply-accumulates", "params": "parameters", "latency_ms": "latency"}
_OBJECTIVE_WORDS = {
    "fidelity": "KL divergence from the original, nats",
    "log_likelihood": "cross-entropy with the labels, nats",
}
_USELESS = 25
"""Points: a version that loses more is not worth a look."""
_ROUNDING = 1e-6
"""Nats: less is rounding, and would stretch the axis."""


@dataclass(frozen=True)
class Picture:
    """A plot, and where in it the versions are that the page tells of.

    Attributes:
        title: of the plot.
        path: of its file.
        spots: (place of the version on the page, from 0; how far from the left; from the top), in
            percent of the picture's width and height. Versions outside of it are left out.
    """

    title: str
    path: Path
    spots: tuple[tuple[int, float, float], ...]


def judged_by(history: FrontHistory) -> tuple[str, str]:
    """Return by which figure finished versions are shown, and that in words.

    That is the accuracy where it is known, else how often they agree with the original.
    """
    if history.original is None or np.isnan(history.original["accuracy_pct"]):
        return "agreement_pct", "agreement with the original on calibration images"
    images = "test" if history.record["arguments"].get("tested") else "calibration"
    return "accuracy_pct", f"accuracy on {images} images"


def save_front_plots(history: FrontHistory, folder: Path) -> list[Picture]:
    """Draw what a search found and what it tried.

    Args:
        history: of the search.
        folder: gets ``front.png``, of a search that is finished, and ``versions.png``.

    Returns:
        The plots. The versions in them are those of the front, or those that no other one beats
        so far where the search is not finished.
    """
    pictures = []
    if history.original is not None:
        title = f"The front: {judged_by(history)[1]} at each cost"
        drawn = _front(history, history.original)
        pictures.append(_picture(title, folder / "front.png", *drawn))
    title = "Every evaluated version, by what the search minimised"
    pictures.append(_picture(title, folder / "versions.png", *_versions(history)))
    return pictures


def _picture(title: str, path: Path, figure: Figure, points: NDArray[np.float64]) -> Picture:
    save_figure(figure, path)  # first: that is what lays it out
    (axes,) = figure.axes
    pixels = axes.transData.transform(points)  # (versions, 2), from below
    shares = 100 * pixels / figure.bbox.size
    spots = [
        (place, float(shares[place, 0]), 100 - float(shares[place, 1]))
        for place, (x, y) in enumerate(pixels)
        if axes.bbox.contains(x, y)
    ]
    return Picture(title, path, tuple(spots))


def _front(history: FrontHistory, original: dict[str, float]) -> tuple[Figure, NDArray[np.float64]]:
    """Return the figure and where the versions are in it, shape (versions, 2)."""
    figure, axes = new_canvas()
    name, words = judged_by(history)
    costs = _shares(history, np.array([one.figures[history.cost] for one in history.front]))
    values = np.array([one.figures[name] for one in history.front])
    colour, marker = LOOKS[0]
    axes.plot(costs, values, color=colour, marker=marker, markersize=5, label="versions")
    points = np.column_stack([costs, values])
    _number(axes, points)
    whole = original[name]
    axes.axhline(whole, color=LINE, linestyle=":", linewidth=1)
    axes.scatter(100, whole, s=90, marker="*", color=LINE, zorder=3, label="as it is")
    axes.set_ylabel(f"{words}, %")
    below = int((values < whole - _USELESS).sum())
    if below:  # they would squeeze the others together
        axes.set_ylim(whole - _USELESS, whole + _USELESS / 10)
        axes.set_title(f"{below} lie below this picture", fontsize=9, loc="left")
    _finish(axes, history)
    return figure, points


def _versions(history: FrontHistory) -> tuple[Figure, NDArray[np.float64]]:
    """Return the figure and where the versions are in it, shape (versions, 2)."""
    figure, axes = new_canvas()
    costs = _shares(history, history.values(history.cost))
    losses = np.maximum(-history.values(history.objective), _ROUNDING)
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
    axes.set_ylabel(_OBJECTIVE_WORDS[history.objective])
    _finish(axes, history)
    points = np.column_stack([costs, losses])
    if not history.front:
        return figure, points[best]
    points = points[[one.step for one in history.front]]
    _number(axes, points)
    return figure, points


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


def _shares(history: FrontHistory, costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return costs in percent of the original's; as they are where that is not known."""
    return costs if np.isnan(history.whole) else 100 * costs / history.whole


def _finish(axes: Axes, history: FrontHistory) -> None:
    asked, words = history.record["arguments"], COST_WORDS.get(history.cost, history.cost)
    unit = ", ms" if history.cost == "latency_ms" else ""
    if asked.get("device") and history.cost == "latency_ms":
        words += f" on {asked['device']}"
    if np.isnan(history.whole):
        axes.set_xlabel(plain(words + unit))
    else:
        axes.set_xlabel(plain(f"{words}, % of the original's"))
        if asked.get("target"):
            share = 100 * float(asked["target"])
            axes.axvline(share, color=LINE, linestyle="--", linewidth=1, label="target")
    add_legend(axes)
