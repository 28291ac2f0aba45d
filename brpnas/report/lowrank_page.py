"""The report page of a search for low-rank versions of a network: its front."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from brpnas.report.conditions import conditions, provenance
from brpnas.report.expected import expected_facts
from brpnas.report.interactive import Network
from brpnas.report.lowrank_history import LowRankHistory, Version, choices_of, read_lowrank_history
from brpnas.report.lowrank_plots import (
    expected_plot,
    front_plot,
    lowrank_curves,
    versions_plot,
)
from brpnas.report.lowrank_png import save_lowrank_plots
from brpnas.report.lowrank_words import COST_WORDS, OBJECTIVE_WORDS, judged_by, losses_of
from brpnas.report.rendering import render
from brpnas.report.summary import Facts, Summary
from brpnas.report.writing import write_page

__all__ = ["summarise_lowrank", "write_lowrank_report"]

_SHOWN = 300  # versions with a list of their own: more would make the page heavy

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


def write_lowrank_report(folder: Path | str, out: Path | None = None) -> Path:
    """Draw the front of a search and write its page, from its record and trace alone.

    Args:
        folder: a run folder of ``brpnas search --space lowrank``; the search may be unfinished.
            Gets the plots as PNG files.
        out: the page; ``report.html`` in the folder if not given.

    Returns:
        The page's path.

    Raises:
        UserError: not such a folder, or it cannot be written.
    """
    folder = Path(folder)
    history = read_lowrank_history(folder)
    page = out or folder / "report.html"
    save_lowrank_plots(history, folder)
    write_page(page, _render(history, folder))
    return page


def summarise_lowrank(folder: Path) -> Summary:
    """Return what a search for low-rank versions tells.

    Raises:
        UserError: not a run folder of ``brpnas search --space lowrank``.
    """
    history = read_lowrank_history(folder)
    asked, result = history.record["arguments"], history.record["result"] or {}
    networks = _networks(history)
    found: Facts = [("Evaluated", len(history.trace)), ("Seconds", result.get("wall_s"))]
    if history.original is not None:
        middle = history.front[len(history.front) // 2]
        judge, words = judged_by(history)
        cost = middle.figures[history.cost]
        words_of_cost = COST_WORDS.get(history.cost, history.cost)
        found = [
            ("Versions kept", len(history.front)),
            (f"Middle version: {words_of_cost}", _change(cost, history.whole)),
            (f"Middle version: {words}, %", middle.figures[judge]),
            ("As it is, %", history.original[judge]),
            *found,
            ("Middle version", str(history.trace["arch"].iloc[middle.step])),
        ]
    found += expected_facts(history.rounds())
    return Summary(
        kind="Searches for low-rank versions",
        found=found,
        asked=_asked_of(history),
        device=conditions(asked),
        command=str(asked.get("command", "")),
        provenance=provenance(history.record),
        curves=lowrank_curves(history, networks),
        networks=list(networks.values()),
    )


def _asked_of(history: LowRankHistory) -> Facts:
    """Return what a search was asked, by titles."""
    asked = history.record["arguments"]
    known = [(title, asked[name]) for name, title in _ASKED.items() if asked.get(name) is not None]
    return [("Kept low", COST_WORDS.get(history.cost, history.cost)), *known]


def _render(history: LowRankHistory, folder: Path) -> str:
    asked, original = history.record["arguments"], history.original
    errors = [str(error) for error in history.trace["error"] if isinstance(error, str)]
    middle = len(history.front) // 2
    judge, judge_words = judged_by(history)
    networks = _networks(history)
    kept = [networks[one.step] for one in history.front]
    plots = [] if original is None else [front_plot(history, original, kept)]
    plots.append(versions_plot(history, networks))
    course, rounds = len(plots) - 1, history.rounds()
    plots += [expected_plot(history, rounds, networks)] if rounds else []
    others = [row for row in history.unbeaten().tolist() if networks[row] not in kept]
    return render(
        "lowrank.html",
        {"change": _change, "points": _points},
        plots,
        record=history.record,
        asked=_asked_of(history),
        device=conditions(asked),
        command=asked.get("command"),
        provenance=provenance(history.record),
        cost=history.cost,
        cost_words=COST_WORDS.get(history.cost, history.cost),
        original=original,
        front=history.front,
        front_networks=kept,
        middle=middle,
        judge=judge,
        judge_words=judge_words,
        columns=_columns(history),
        layers=history.layers,
        others=_rows(history, others),
        shown=_rows(history, list(networks)),
        shown_networks=list(networks.values()),
        resume=f"{asked.get('command')} --out {shlex.quote(str(folder))} --resume",
        evaluated=len(history.trace),
        course=course,
        rounds=rounds,
        losses=losses_of(history.values(history.objective)).tolist(),
        loss_words=OBJECTIVE_WORDS[history.objective],
        errors=errors,
        wall_s=(history.record["result"] or {}).get("wall_s"),
        left=(history.record["result"] or {}).get("left", []),
    )


def _networks(history: LowRankHistory) -> dict[int, Network]:
    """Return what a page shows of versions, by their row in the trace, in order.

    They are the first 300, those that no other one beats, and the best of each round.
    """
    finished = {one.step: (number, one) for number, one in enumerate(history.front)}
    best = {one.best for one in history.rounds() if one.best is not None}
    first = range(min(_SHOWN, len(history.trace)))
    rows = {*first, *history.unbeaten().tolist(), *finished, *best}
    return {row: _network(history, row, *finished.get(row, (0, None))) for row in sorted(rows)}


def _network(history: LowRankHistory, row: int, number: int, version: Version | None) -> Network:
    text = str(history.trace["arch"].iloc[row])
    choices = choices_of(text)
    shown = Network(
        key=str(row),
        title=f"Number {row + 1}",
        text=text,
        figures=[(name, history.values(name)[row]) for name in (history.cost, "agreement_pct")],
        row=row,
        choices={layer: choices[layer] for layer in history.layers if layer in choices},
    )
    if version is None:
        return shown
    known = [(name, value) for name, value in version.figures.items() if not math.isnan(value)]
    return replace(
        shown,
        title=f"Version {number}",
        figures=[*known, ("evaluated as number", row + 1), ("recipe", version.recipe)],
        command=_compress(version, history.record["arguments"]),
    )


def _rows(history: LowRankHistory, rows: list[int]) -> list[dict[str, Any]]:
    """Return what tables show of versions."""
    costs, agreements = history.values(history.cost), history.values("agreement_pct")
    return [
        {
            **{"key": row, "row": row, "text": history.trace["arch"].iloc[row]},
            **{"cost": costs[row], "agreement_pct": agreements[row]},
        }
        for row in rows
    ]


def _columns(history: LowRankHistory) -> dict[str, str]:
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
