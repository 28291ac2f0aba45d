"""The report page of a search for low-rank versions of a network: its front."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from brpnas.report.front_history import FrontHistory, Version, choices_of, read_front_history
from brpnas.report.front_plots import COST_WORDS, Picture, judged_by, save_front_plots
from brpnas.report.rendering import embedded, render
from brpnas.report.writing import write_page
from brpnas.values import readable

__all__ = ["write_front_report"]

_ASKED = {
    "model": "Network",
    "weights": "Weights",
    "calibration": "Calibration images",
    "images": "Calibration images, at most",
    "labels": "Labels used",
    "test": "Test images",
    "weights_by": "Low-rank weights by",
    "device": "Device",
    "target": "Target, share of the cost",
    "strategy": "Strategy",
    "predictor": "Predictor",
    "budget": "Versions evaluated, at most",
    "keep": "Versions kept, at most",
    "repair": "Repair",
    "seed": "Seed",
}


def write_front_report(folder: Path | str) -> Path:
    """Draw the front of a search and write ``report.html``, from its record and trace alone.

    Args:
        folder: a run folder of ``brpnas search --space lowrank``; the search may be unfinished.

    Returns:
        The page's path.

    Raises:
        UserError: not such a folder, or it cannot be written.
    """
    folder = Path(folder)
    history = read_front_history(folder)
    page = folder / "report.html"
    write_page(page, _render(history, save_front_plots(history, folder), folder))
    return page


def _render(history: FrontHistory, pictures: list[Picture], folder: Path) -> str:
    asked = history.record["arguments"]
    errors = [str(error) for error in history.trace["error"] if isinstance(error, str)]
    versions = _versions(history)
    middle = len(versions) // 2
    judge, judge_words = judged_by(history)
    return render(
        "front.html",
        {"change": _change, "points": _points},
        record=history.record,
        asked={title: asked[name] for name, title in _ASKED.items() if asked.get(name) is not None},
        cost=history.cost,
        cost_words=COST_WORDS.get(history.cost, history.cost),
        original=history.original,
        front=history.front,
        middle=middle,
        judge=judge,
        judge_words=judge_words,
        columns=_columns(history),
        layers=history.layers,
        compress=_compress(history.front[middle], asked) if history.front else "",
        versions=versions,
        titles=[*versions],
        others=_others(history),
        resume=f"{asked.get('command')} --out {shlex.quote(str(folder))} --resume",
        evaluated=len(history.trace),
        errors=errors,
        wall_s=(history.record["result"] or {}).get("wall_s"),
        pictures=[(one, embedded(one.path)) for one in pictures],
    )


def _versions(history: FrontHistory) -> dict[str, dict[str, str]]:
    """Return what is in the layers' places, by a title, of the versions of the front.

    They are those that no other one beats so far where the search is not finished.
    """
    cost, words = history.cost, COST_WORDS.get(history.cost, history.cost)
    if history.original is not None:
        return {
            f"Version {number}: {_change(one.figures[cost], history.whole)} {words}, "
            f"{readable(one.figures['agreement_pct'])}% agreement, evaluated as number "
            f"{one.step + 1}": one.choices
            for number, one in enumerate(history.front)
        }
    costs, agreements = history.values(cost), history.values("agreement_pct")
    unit = " ms of" if cost == "latency_ms" else ""
    return {
        f"Number {row + 1}: {readable(costs[row])}{unit} {words}, "
        f"{readable(agreements[row])}% agreement": choices_of(str(history.trace["arch"].iloc[row]))
        for row in history.unbeaten().tolist()
    }


def _others(history: FrontHistory) -> list[dict[str, Any]]:
    """Return what is known of the versions that no other one beats, but that were not kept."""
    kept = {one.step for one in history.front}
    costs, agreements = history.values(history.cost), history.values("agreement_pct")
    return [
        {
            "number": row + 1,
            "cost": costs[row],
            "agreement_pct": agreements[row],
            "arch": history.trace["arch"].iloc[row],
        }
        for row in history.unbeaten().tolist()
        if row not in kept
    ]


def _columns(history: FrontHistory) -> dict[str, str]:
    """Return the costs that are known, each with its title in the table."""
    known = history.original or {}
    titles = {"macs": "MACs", "params": "parameters", "latency_ms": "latency, ms"}
    return {name: title for name, title in titles.items() if known.get(name, 0) > 0}


def _compress(version: Version, asked: dict[str, Any]) -> str:
    """Return the command that takes a version out."""
    words = ["brpnas", "compress", "--recipe", version.recipe, "--model", str(asked.get("model"))]
    words += ["--weights", str(asked["weights"])] if asked.get("weights") else []
    return shlex.join([*words, "--out", "compressed"])


def _change(value: float, whole: float) -> str:
    """Return by how many percent of the whole a value differs from it."""
    return "-" if math.isnan(value) else _points(100 * (value / whole - 1), 1) + "%"


def _points(difference: float, decimals: int = 2) -> str:
    """Return a difference with its sign."""
    text = f"{difference:+.{decimals}f}"
    if math.isnan(difference) or not float(text):
        return "-" if math.isnan(difference) else text[1:]
    return text.replace("-", "\N{MINUS SIGN}")
