"""The page of runs side by side, or of one that has no page of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brpnas.report.interactive import Network, Plot, axis, line, plain, points
from brpnas.report.rendering import render
from brpnas.report.summary import Axes, Curve, Facts, Summary
from brpnas.report.writing import write_page

__all__ = ["write_comparison"]


def write_comparison(summaries: Sequence[tuple[Path, Summary]], out: Path) -> Path:
    """Write the page that compares runs.

    Args:
        summaries: what each tells, with where it is; no place is there twice.
        out: the page.

    Returns:
        The page's path.

    Raises:
        UserError: it cannot be written.
    """
    names = _names([path for path, _ in summaries])
    runs = [_numbered(place, run) for place, (_, run) in enumerate(summaries)]
    write_page(out, _render(names, runs))
    return out


@dataclass(frozen=True)
class _Row:
    """What each run says of something; None where it says nothing."""

    title: str
    values: Sequence[Any]
    differs: bool


@dataclass(frozen=True)
class _Table:
    """What the runs of one kind say: a row for each title, a column for each run."""

    kind: str
    names: Sequence[str]
    rows: Sequence[_Row]


def _render(names: list[str], runs: list[Summary]) -> str:
    groups = _groups(runs)
    return render(
        "comparison.html",
        title=f"{len(names)} runs side by side"
        if len(names) > 1
        else f"{runs[0].kind}: {names[0]}",
        plots=[_plot(names, curves) for curves in groups],
        points=[_points(names, runs, curves) for curves in groups],
        names=names,
        found=_tables(names, runs, [run.found for run in runs]),
        asked=_tables(names, runs, [run.asked for run in runs]),
        device=[_table("", names, [run.device for run in runs])]
        if any(run.device for run in runs)
        else [],
        provenance=[_table("", names, [run.provenance for run in runs])],
        commands=[(name, run.command) for name, run in zip(names, runs, strict=True)],
        networks=[network for run in runs for network in run.networks],
    )


def _names(paths: list[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart."""
    whole = [Path(os.path.abspath(path)).parts for path in paths]  # noqa: PTH100 - links stay
    counts = range(1, max(map(len, whole)) + 1)
    ends = ([str(Path(*parts[-count:])) for parts in whole] for count in counts)
    return next(names for names in ends if len({*names}) == len(names))


def _numbered(place: int, run: Summary) -> Summary:
    """Return a run whose networks have keys that no other run of the page has."""
    networks = [_renamed(place, one) for one in run.networks]
    curves = [
        replace(curve, keys=[None if key is None else f"{place}-{key}" for key in curve.keys])
        for curve in run.curves
    ]
    return replace(run, networks=networks, curves=curves)


def _renamed(place: int, network: Network) -> Network:
    return replace(network, key=f"{place}-{network.key}")


_Placed = list[tuple[int, Curve]]
"""Curves, each with the place of its run."""


def _groups(runs: list[Summary]) -> list[_Placed]:
    """Return the curves that stand in one plot together, for each plot."""
    grouped: dict[Axes, _Placed] = {}
    for place, run in enumerate(runs):
        for curve in run.curves:
            grouped.setdefault(curve.axes, []).append((place, curve))
    return list(grouped.values())


def _plot(names: list[str], curves: _Placed) -> Plot:
    data = []
    several = len({curve.label for _, curve in curves}) > 1
    for number, (run, curve) in enumerate(curves):
        place = number if several else run
        name = " ".join(filter(None, (names[run] if len(names) > 1 else "", curve.label)))
        texts = [f"{plain(name)}<br>{text}" for text in curve.texts]
        drawn = line(name, curve.x, curve.y, place, shape=curve.shape)
        dots = points(name, place, curve.x, curve.y, texts, curve.keys)
        data += [{**drawn, "showlegend": False}, dots]
    axes = curves[0][1].axes
    layout = {"xaxis": axis(axes.across), "yaxis": axis(axes.up), "showlegend": True}
    return Plot(
        axes.title,
        data,
        layout,
        "Point at a network for its name, click to see it."
        if any(key for _, curve in curves for key in curve.keys)
        else "",
    )


def _points(names: list[str], runs: list[Summary], curves: _Placed) -> list[tuple[str, Network]]:
    """Return the networks that the points of a plot open, each once, with their runs' names."""
    found = []
    for place, curve in curves:
        networks = {one.key: one for one in runs[place].networks}
        keys = dict.fromkeys(key for key in curve.keys if key in networks)
        found += [(names[place], networks[key]) for key in keys if key is not None]
    return found


def _tables(names: list[str], runs: list[Summary], told: list[Facts]) -> list[_Table]:
    """Return a table for each kind of run: they say different things."""
    tables = []
    for kind in dict.fromkeys(run.kind for run in runs):
        own = [place for place, run in enumerate(runs) if run.kind == kind]
        tables.append(_table(kind, [names[at] for at in own], [told[at] for at in own]))
    return tables


def _table(kind: str, names: Sequence[str], told: list[Facts]) -> _Table:
    known = [dict(facts) for facts in told]
    rows = []
    for title in dict.fromkeys(title for facts in known for title in facts):
        said = [facts.get(title) for facts in known if facts]  # who says nothing at all, agrees
        differs = any(value != said[0] for value in said)
        rows.append(_Row(title, [facts.get(title) for facts in known], differs))
    return _Table(kind, names, rows)
