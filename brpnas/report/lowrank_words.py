"""In what words, units and ranges pages and plots tell of a search for low-rank versions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brpnas.report.lowrank_history import LowRankHistory

__all__ = [
    "COST_WORDS",
    "OBJECTIVE_WORDS",
    "USELESS",
    "cost_title",
    "judged_by",
    "losses_of",
    "shares",
]

COST_WORDS = {"macs": "multiply-accumulates", "params": "parameters", "latency_ms": "latency"}
OBJECTIVE_WORDS = {
    "fidelity": "KL divergence from the original, nats",
    "log_likelihood": "cross-entropy with the labels, nats",
}
USELESS = 25
"""Points: a version that loses more is not worth a look."""
_ROUNDING = 1e-6  # nats: less is rounding, and would stretch the axis


def judged_by(history: LowRankHistory) -> tuple[str, str]:
    """Return by which figure finished versions are shown, and that in words.

    That is the accuracy where it is known, else how often they agree with the original.
    """
    if history.original is None or np.isnan(history.original["accuracy_pct"]):
        return "agreement_pct", "agreement with the original on calibration images"
    images = "test" if history.record["arguments"].get("tested") else "calibration"
    return "accuracy_pct", f"accuracy on {images} images"


def losses_of(objectives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what is shown in place of objectives, nats, shape (n,); less is better."""
    return np.maximum(-objectives, _ROUNDING)


def shares(history: LowRankHistory, costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return costs, shape (n,), in percent of the original's, where that is known."""
    return costs if np.isnan(history.whole) else 100 * costs / history.whole


def cost_title(history: LowRankHistory) -> str:
    """Return what the axis of costs shows."""
    asked, words = history.record["arguments"], COST_WORDS.get(history.cost, history.cost)
    if asked.get("device") and history.cost == "latency_ms":
        words += f" on {asked['device']}"
    if np.isnan(history.whole):
        return words + (", ms" if history.cost == "latency_ms" else "")
    return f"{words}, % of the original's"
