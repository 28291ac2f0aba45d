"""What a search tells, and its page: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from brpnas.report.conditions import conditions, provenance
from brpnas.report.drawing import graph_svg
from brpnas.report.expected import expected_facts
from brpnas.report.interactive import Network, hover
from brpnas.report.rendering import render
from brpnas.report.search_history import SearchHistory, read_search_history
from brpnas.report.search_plots import (
    cost_columns,
    course_plots,
    expected_plot,
    front_plot,
    front_rows,
)
from brpnas.report.search_png import save_search_plots
from brpnas.report.summary import Axes, Curve, Facts, Summary
from brpnas.report.writing import write_page
from brpnas.resolver import SPACES, resolve

__all__ = ["summarise_search", "write_search_report"]

_ASKED = {
    "space": "Space",
    "table": "Table",
    "train_on": "Trained on",
    "test_on": "Tested on",
    "pool": "Networks to choose from",
    "accuracy": "Maximised",
    "report": "Reported",
    "latency_table": "Costs from",
    "strategy": "Strategy",
    "predictor": "Predictor",
    "budget": "Networks evaluated",
    "iterations": "Iterations",
    "seed": "Seed",
}
_TOP = 10
_SHOWN = 300  # networks with a drawing of their own: more would make the page heavy


def write_search_report(folder: Path | str, out: Path | None = None) -> Path:
    """Draw the plots of a run and write its page, from its record and trace alone.

    Args:
        folder: a run folder of ``brpnas search``; may be of a search that is not finished. Gets
            the plots as PNG files.
        out: the page; ``report.html`` in the folder if not given.

    Returns:
        The page's path.

    Raises:
        UserError: not such a folder, or it cannot be written.
    """
    folder = Path(folder)
    history = read_search_history(folder)
    page = out or folder / "report.html"
    save_search_plots(history, folder)
    write_page(page, _render(history))
    return page


def summarise_search(folder: Path) -> Summary:
    """Return what a search tells.

    Raises:
        UserError: not a run folder of ``brpnas search``.
    """
    history = read_search_history(folder)
    asked, result = history.record["arguments"], history.record["result"] or {}
    best = history.best_so_far()
    better = np.flatnonzero(np.diff(best, prepend=-1)).tolist()  # where the best so far changes
    fronts = {cost: front_rows(history, cost).tolist() for cost in cost_columns(history)}
    rows = sorted({*better, *(row for front in fronts.values() for row in front)})
    networks = dict(zip(rows, _networks(history, str(asked["space"]), rows), strict=True))
    found: Facts = [("Evaluated", len(history.trace)), ("Seconds", result.get("wall_s"))]
    if better:
        answer = networks[better[-1]]
        found = [*answer.figures, ("Found as number", answer.row + 1), *found]
        found.append(("Network", answer.text))
    found += expected_facts(history.rounds())

    def curve(title: str, across: str, x: Any, rows: list[int]) -> Curve:  # noqa: ANN401
        shown = [networks[row] for row in rows]
        return Curve(
            Axes(title, across, history.accuracy),
            x=x,
            y=history.values(history.accuracy)[rows],
            texts=[hover(one.text, one.figures) for one in shown],
            keys=[one.key for one in shown],
            shape="hv",
        )

    # The answer once more at the end, unless it was found there.
    last = [row for row in better[-1:] if row + 1 < len(best)]
    course = [*better, *last]
    steps = [*(row + 1 for row in better), *(len(best) for _ in last)]
    return Summary(
        kind="Searches",
        found=found,
        asked=_asked_of(history),
        device=conditions(asked),
        command=str(asked.get("command", "")),
        provenance=provenance(history.record),
        curves=[
            *(
                curve(
                    f"The front: {history.accuracy} against {cost}",
                    cost,
                    history.values(cost)[front],
                    front,
                )
                for cost, front in fronts.items()
            ),
            curve("The best so far", "networks evaluated", steps, course),
        ],
        networks=list(networks.values()),
    )


def _asked_of(history: SearchHistory) -> Facts:
    """Return what a search was asked, by titles."""
    asked = history.record["arguments"]
    known = [(title, asked[name]) for name, title in _ASKED.items() if asked.get(name) is not None]
    return known + [(f"Limit of {name}", f"at most {limit:g}") for name, limit in history.limits]


def _render(history: SearchHistory) -> str:
    asked: dict[str, Any] = history.record["arguments"]
    result: dict[str, Any] = history.record["result"] or {}
    best = history.best_so_far()
    row = int(best[-1]) if len(best) else -1
    fronts = {cost: front_rows(history, cost) for cost in cost_columns(history)}
    worth = np.where(history.within(), history.values(history.accuracy), -np.inf)
    order = np.argsort(-worth, kind="stable")
    rounds = history.rounds()
    best_of_rounds = {one.best for one in rounds if one.best is not None}
    unbeaten = {row for front in fronts.values() for row in front.tolist()}
    rows = sorted({*order[:_SHOWN].tolist(), *unbeaten, *best_of_rounds})
    networks = dict(zip(rows, _networks(history, str(asked["space"]), rows), strict=True))
    keys = [str(row) if row in networks else None for row in range(len(worth))]
    drawn = {cost: front_plot(history, cost, keys) for cost in fronts}
    course = course_plots(history, keys)
    expected = [expected_plot(history, rounds, keys)] if rounds else []
    return render(
        "search.html",
        plots=[*drawn.values(), *course, *expected],
        asked=_asked_of(history),
        device=conditions(asked),
        command=asked.get("command"),
        provenance=provenance(history.record),
        limits=history.limits,
        best=networks.get(row),
        fronts=[
            {"cost": cost, "plot": plot, "networks": [networks[row] for row in fronts[cost]]}
            for cost, plot in drawn.items()
        ],
        course=course,
        rounds=rounds,
        measured=history.values(history.accuracy).tolist(),
        ranks=result.get("ranks", {}),
        step=row + 1,
        evaluated=len(history.trace),
        failed=int(np.isnan(history.values(history.accuracy)).sum()),
        beyond=int((~history.within()).sum()),
        wall_s=result.get("wall_s"),
        metrics=history.columns,
        origins=history.trace["origin"].tolist(),
        top=[networks[row] for row in order[:_TOP].tolist() if np.isfinite(worth[row])],
        shown=list(networks.values()),
        record=history.record,
    )


def _networks(history: SearchHistory, space: str, rows: list[int]) -> list[Network]:
    """Return what the page shows of networks."""
    networks = resolve("space", space, SPACES)()
    values = {name: history.values(name) for name in history.columns}
    archs = history.trace["arch"]
    return [
        Network(
            key=str(row),
            title=f"Number {row + 1}",
            text=str(archs.iloc[row]),
            figures=[(name, float(known[row])) for name, known in values.items()],
            row=row,
            # Names are escaped where they are drawn.
            drawing=Markup(graph_svg(networks.graph(networks.parse(archs.iloc[row])))),  # noqa: S704
        )
        for row in rows
    ]
