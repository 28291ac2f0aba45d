"""Results in the form that NAS-Bench-201 and NATS-Bench document, for small files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

CELLS = [
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|none~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
]


def run(name: str, seed: int, epochs: int, accuracies: dict[str, float], **changed: Any) -> Any:
    """ResultsCount.state_dict() with the given accuracies (%) after the last epoch."""
    evaluated = {f"{part}@{epochs - 1}": value for part, value in accuracies.items()}
    early = {f"{part}@0": -1.0 for part in accuracies}  # must not be read
    return {
        "name": name,
        "net_state_dict": None,
        "train_acc1es": {epochs - 1: 99.0},
        "train_losses": {epochs - 1: 0.1},
        "train_times": None,
        "arch_config": {"name": "infer.tiny", "channel": 16, "num_cells": 5, "class_num": 10},
        "params": 0.5,
        "flop": 40.0,
        "seed": seed,
        "epochs": epochs,
        "latency": [0.010, 0.030],
        "eval_names": list(accuracies),
        "eval_acc1es": {**early, **evaluated},
        "eval_times": {},
        "eval_losses": {},
        **changed,
    }


def results(index: int, *runs: Any) -> Any:
    """ArchResults.state_dict()."""
    return {
        "arch_index": index,
        "arch_str": CELLS[index],
        "all_results": {(one["name"], one["seed"]): one for one in runs},
        "dataset_seed": {},
        "clear_net_done": False,
    }


def short(index: int, epochs: int = 12) -> Any:
    """One run of CIFAR-10, with a validation accuracy of 50 + index."""
    return results(index, run("cifar10-valid", 777, epochs, {"x-valid": 50.0 + index}))


@pytest.fixture(scope="session")
def runs() -> SimpleNamespace:
    return SimpleNamespace(CELLS=CELLS, run=run, results=results, short=short)
