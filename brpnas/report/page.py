"""The report page of a search: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from brpnas.report.drawing import graph_svg
from brpnas.report.history import History, read_history
from brpnas.report.plots import save_plots
from brpnas.report.rendering import embedded, render
from brpnas.report.writing import write_page
from brpnas.resolver import SPACES, resolve

__all__ = ["write_report"]

_ASKED = {
    "space": "Space",
    "table": "Table",
    "train_on": "Trained on",
    "test_on": "Tested on",
    "pool": "Networks to choose from",
    "accuracy": "Maximised",
    "report": "Reported",
    "strategy": "Strategy",
    "predictor": "Predictor",
    "budget": "Networks evaluated",
    "iterations": "Iterations",
    "seed": "Seed",
}
_TOP = 10


def write_report(folder: Path | str) -> Path:
    """Draw the plots of a run and write ``report.html``, from its record and trace alone.

    Args:
        folder: a run folder of ``brpnas search``; may be of a search that is not finished.

    Returns:
        The page's path.

    Raises:
        UserError: not such a folder, or it cannot be written.
    """
    folder = Path(folder)
    history = read_history(folder)
    page = folder / "report.html"
    write_page(page, _render(history, save_plots(history, folder)))
    return page


def _render(history: History, plots: dict[str, Path]) -> str:
    asked: dict[str, Any] = history.record["arguments"]
    result: dict[str, Any] = history.record["result"] or {}
    metrics = [column for column in _columns(history) if column in history.trace]
    best = history.best_so_far()
    row = int(best[-1]) if len(best) else -1
    arch = str(history.trace["arch"][row]) if row >= 0 else None
    shown = {title: asked[name] for name, title in _ASKED.items() if asked.get(name) is not None}
    return render(
        "report.html",
        asked=shown,
        limits=history.limits,
        arch=arch,
        drawing=_drawing(str(asked["space"]), arch) if arch else "",
        found=[(name, history.values(name)[row]) for name in metrics] if arch else [],
        ranks=result.get("ranks", {}),
        step=row + 1,
        evaluated=len(history.trace),
        failed=int(np.isnan(history.values(history.accuracy)).sum()),
        beyond=int((~history.within()).sum()),
        wall_s=result.get("wall_s"),
        plots={title: embedded(path) for title, path in plots.items()},
        metrics=metrics,
        top=_top(history, metrics),
        record=history.record,
    )


def _columns(history: History) -> list[str]:
    """Return the columns worth showing, each once."""
    report = [history.report] if history.report else []
    return list(dict.fromkeys([history.accuracy, *report, *dict(history.limits)]))


def _top(history: History, metrics: list[str]) -> list[dict[str, Any]]:
    """Return the best ten networks within the limits, the best first."""
    worth = np.where(history.within(), history.values(history.accuracy), -np.inf)
    order = np.argsort(-worth, kind="stable")[:_TOP]
    return [
        {
            "step": int(row) + 1,
            "origin": history.trace["origin"][row],
            "arch": history.trace["arch"][row],
            "values": [history.values(name)[row] for name in metrics],
        }
        for row in order
        if np.isfinite(worth[row])
    ]


def _drawing(space: str, arch: str) -> Markup:
    networks = resolve("space", space, SPACES)()
    return Markup(graph_svg(networks.graph(networks.parse(arch))))  # noqa: S704 - it escapes names
