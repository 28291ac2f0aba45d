"""Training runs as NAS-Bench-201 and NATS-Bench store them (class ResultsCount, as a dict)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from brpnas.datasets.card import Card
from brpnas.datasets.table import Table
from brpnas.errors import DAMAGE, UserError

# (name of the training in the file, set that was evaluated) -> column
_ACCURACIES = {
    ("cifar10-valid", "x-valid"): "cifar10_valid_acc",
    ("cifar10", "ori-test"): "cifar10_test_acc",
    ("cifar100", "x-valid"): "cifar100_valid_acc",
    ("cifar100", "x-test"): "cifar100_test_acc",
    ("ImageNet16-120", "x-valid"): "imagenet16_120_valid_acc",
    ("ImageNet16-120", "x-test"): "imagenet16_120_test_acc",
}
_SUFFIXES = {
    "cifar10-valid": "cifar10",  # the same network, trained on half of the images
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "ImageNet16-120": "imagenet16_120",
}
_COLUMNS = {
    "params_m_": "millions of parameters",
    "flops_m_": "millions of multiply-accumulates (the source says FLOPs)",
    "latency_ms_": "latency as the source gives it, mean over runs that have one",
}


def network_metrics(budgets: Iterable[tuple[Any, Any]], where: str) -> dict[str, float]:
    """Summarise all training runs of one network.

    Args:
        budgets: (number of epochs as text, ArchResults as a dict).
        where: file and architecture, for errors.

    Returns:
        Column to mean over the runs (seeds) that have the value.
    """
    values: defaultdict[str, list[float]] = defaultdict(list)
    try:
        for epochs, results in budgets:
            for (training, _), run in results["all_results"].items():
                if training in _SUFFIXES:
                    _add_run(values, training, epochs, run)
        return {column: float(np.mean(found)) for column, found in values.items()}
    except DAMAGE as error:
        kind = type(error).__name__
        raise UserError(f"{where}: not a result of the benchmark ({kind}: {error})") from None


def _add_run(
    values: defaultdict[str, list[float]], training: str, epochs: str, run: Mapping[str, Any]
) -> None:
    last = int(run["epochs"]) - 1
    for (name, evaluated), column in _ACCURACIES.items():
        accuracy = run["eval_acc1es"].get(f"{evaluated}@{last}") if name == training else None
        if accuracy is not None:
            values[f"{column}_{int(epochs)}ep_pct"].append(float(accuracy))
    suffix = _SUFFIXES[training]
    values[f"params_m_{suffix}"].append(float(run["params"]))
    values[f"flops_m_{suffix}"].append(float(run["flop"]))
    latencies_s = [float(latency_s) for latency_s in run["latency"] or ()]
    latency_s = float(np.mean(latencies_s)) if latencies_s else -1.0
    if latency_s > 0:  # -1 in the source means not available
        values[f"latency_ms_{suffix}"].append(latency_s * 1000)


def runs_table(rows: Mapping[str, Mapping[str, float]], name: str, card: Card) -> Table:
    """Make the table of architectures and their metrics; what a network lacks is missing."""
    columns = sorted({column for row in rows.values() for column in row})
    if not columns:
        raise UserError(f"{name}: no results of any architecture")
    frame = pd.DataFrame({"arch": list(rows)})
    for column in columns:
        frame[column] = [row.get(column, np.nan) for row in rows.values()]
    notes = {
        column: next(
            (note for prefix, note in _COLUMNS.items() if column.startswith(prefix)),
            "accuracy after the last epoch, mean over all runs (seeds)",
        )
        for column in columns
    }
    card = Card(**{**vars(card), "columns": notes})
    return Table(frame, card, name)
