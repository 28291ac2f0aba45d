"""Plots of a predictor, and of several side by side, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import rankdata

from brpnas.judging import LEVELS, Fit, Score
from brpnas.report.canvas import LINE, LOOKS, add_legend, new_canvas, plain, save_figure

__all__ = ["save_predictor_plots", "save_scatter"]

_WORST = 50.0  # percent; errors beyond are off the picture

Scored = list[tuple[Fit, Score]]


def save_predictor_plots(fits: Sequence[Fit], folder: Path) -> dict[str, Path]:
    """Draw how good predictors are, each column by itself.

    Args:
        fits: of a comparison; those that failed are left out.
        folder: gets the PNG files.

    Returns:
        Each plot's file by its title. For every column: the distribution of the errors, expected
        and observed coverage of intervals, true and predicted ranks, and quality by the number of
        networks learnt from. A plot without anything to draw is left out.
    """
    plots = {}
    draw: dict[str, tuple[str, Callable[[Scored, dict[str, int]], Figure | None]]] = {
        "errors": ("errors of {}", _errors),
        "calibration": ("calibration of {}", _calibration),
        "ranks": ("ranks of {}", _ranks),
        "learning": ("learning curves of {}", _learning),
    }
    places = {name: place for place, name in enumerate(dict.fromkeys(_names(fits)))}
    for number, column in enumerate(dict.fromkeys(fit.case.column for fit in fits), start=1):
        scored = [(fit, fit.score) for fit in fits if fit.case.column == column and fit.score]
        for kind, (title, figure_of) in draw.items() if scored else ():
            figure = figure_of(scored, places)
            if figure is not None:
                path = folder / f"column_{number}_{kind}.png"
                figure.suptitle(plain(title.format(column)), fontsize=10)
                plots[title.format(column)] = save_figure(figure, path)
    return plots


def save_scatter(
    path: Path, truth: NDArray[np.float64], prediction: NDArray[np.float64], column: str
) -> None:
    """Plot predictions against the truth.

    Args:
        path: of the PNG file.
        truth: measured values, shape (n,).
        prediction: predicted values, shape (n,), in the same unit.
        column: name of the metric.
    """
    figure, axes = new_canvas(5.4, 5.0)
    axes.scatter(truth, prediction, s=6, alpha=0.4, color=LOOKS[0][0], linewidths=0)
    ends = [min(truth.min(), prediction.min()), max(truth.max(), prediction.max())]
    axes.plot(ends, ends, color=LINE, linewidth=1, label="prediction = measurement")
    axes.set_xlabel(f"{plain(column)}, measured")
    axes.set_ylabel(f"{plain(column)}, predicted")
    axes.set_title(f"{len(truth):,} networks that were not learnt from", fontsize=10)
    axes.legend(fontsize=8)
    save_figure(figure, path)


def _names(fits: Sequence[Fit]) -> list[str]:
    return [fit.case.predictor for fit in fits]


def _last(scored: Scored) -> dict[str, Scored]:
    """Return, by predictor, the fits to the most networks that any predictor learnt from."""
    most = max(fit.case.train for fit, _ in scored)
    last = [(fit, score) for fit, score in scored if fit.case.train == most]
    return {
        name: [(fit, score) for fit, score in last if fit.case.predictor == name]
        for name in dict.fromkeys(fit.case.predictor for fit, _ in last)
    }


def _learnt(scored: Scored) -> str:
    case = next(iter(scored))[0].case
    return f"{case.train:,} + {case.valid:,} networks learnt from"


def _errors(scored: Scored, places: dict[str, int]) -> Figure:
    figure, axes = new_canvas()
    last = _last(scored)
    for name, fits in last.items():
        percent = 100 * np.median([score.errors for _, score in fits], axis=0)
        share = np.linspace(0, 1, len(percent))
        axes.plot(percent, share, label=name, **_style(name, places))
    for mark in (5, 10):
        axes.axvline(mark, color=LINE, linestyle=":", linewidth=1)
    axes.set_xlim(0, _WORST)
    axes.set_ylim(0, 1)
    axes.set_xlabel("error of the prediction, % of the measured value")
    axes.set_ylabel("share of networks within it")
    axes.set_title(_learnt(next(iter(last.values()))), fontsize=9, loc="left")
    add_legend(axes)
    return figure


def _calibration(scored: Scored, places: dict[str, int]) -> Figure | None:
    figure, axes = new_canvas(6.4, 4.4)
    last = _last(scored)
    drawn = False
    for name, fits in last.items():
        known = [score.coverage for _, score in fits if score.coverage]
        if known:
            observed = np.median(known, axis=0)
            axes.plot(LEVELS, observed, marker=".", label=name, **_style(name, places))
            drawn = True
    if not drawn:
        return None
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1, label="as promised")
    axes.axvline(0.9, color=LINE, linestyle=":", linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("share of networks expected inside the interval")
    axes.set_ylabel("share observed inside it")
    axes.set_title(_learnt(next(iter(last.values()))), fontsize=9, loc="left")
    add_legend(axes)
    return figure


def _ranks(scored: Scored, places: dict[str, int]) -> Figure | None:
    drawn = {
        name: (fit, score)
        for name, fits in _last(scored).items()
        for fit, score in fits
        if score.points
    }
    if not drawn:
        return None
    across = math.ceil(len(drawn) ** 0.5)
    rows = -(-len(drawn) // across)
    figure, first = new_canvas(0.6 + 2.6 * across, 0.7 + 2.4 * rows)
    first.remove()
    panels = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(drawn) :]:
        panel.set_visible(False)
    for panel, (name, (_, score)) in zip(panels.flat, drawn.items(), strict=False):
        truth, predicted = np.array(score.points).T
        colour = _style(name, places)["color"]
        panel.scatter(rankdata(truth), rankdata(predicted), s=3, color=colour, linewidths=0)
        panel.plot([1, len(truth)], [1, len(truth)], color=LINE, linewidth=1)
        panel.set_title(f"{plain(name)}: Spearman {score.quality.spearman:.3f}", fontsize=9)
    case = next(iter(drawn.values()))[0].case
    figure.supxlabel(f"measured rank, seed {case.seed}", fontsize=9)
    figure.supylabel("predicted rank", fontsize=9)
    return figure


def _learning(scored: Scored, places: dict[str, int]) -> Figure:
    figure, left = new_canvas(9.0, 3.8)
    left.remove()
    panels = figure.subplots(1, 2)
    for axes, measure, title in zip(
        panels,
        ("within_10pct", "spearman"),
        ("share of networks predicted within 10%", "Spearman's rank correlation"),
        strict=True,
    ):
        for name in dict.fromkeys(fit.case.predictor for fit, _ in scored):
            own = [(fit, score) for fit, score in scored if fit.case.predictor == name]
            _curve(axes, own, measure, _style(name, places))
        axes.set_xscale("log")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylabel(title)
        axes.set_xlabel("networks learnt from (band: all seeds)")
        sizes = sorted({fit.case.train + fit.case.valid for fit, _ in scored})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
    add_legend(panels[1])
    return figure


def _curve(axes: Axes, own: Scored, measure: str, style: dict[str, Any]) -> None:
    by_size: dict[int, list[float]] = {}
    for fit, score in own:
        value = getattr(score.quality, measure)
        if np.isfinite(value):  # equal predictions have no rank correlation
            by_size.setdefault(fit.case.train + fit.case.valid, []).append(value)
    sizes = sorted(by_size)
    middle = [np.median(by_size[size]) for size in sizes]
    axes.plot(sizes, middle, marker="o", markersize=4, label=own[0][0].case.predictor, **style)
    low, high = ([bound(by_size[size]) for size in sizes] for bound in (min, max))
    axes.fill_between(sizes, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _style(name: str, places: dict[str, int]) -> dict[str, Any]:
    """Return a predictor's colour, the same in all plots; dashes tell those apart that share it."""
    again, place = divmod(places[name], len(LOOKS))
    return {"color": LOOKS[place][0], "linestyle": ("-", "--", ":")[again % 3]}
