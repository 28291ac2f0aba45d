from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from brpnas.devices import TimingPlan
from brpnas.errors import UserError
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.evaluate.measured import LATENCIES
from brpnas.sources import Source, with_device
from brpnas.spaces import Cell, NASBench201, NetworkShape
from brpnas.testing import ScriptedDevice

SPACE = NASBench201()
PLAN = TimingPlan(rounds=2, runs=1, warmup=0)
CELLS = [
    SPACE.parse(f"|{first}~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
    for first in ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
]


class _Trains(Evaluator[Cell]):
    """Notes how often the device had timed a network when a training begins."""

    metrics = ("valid_acc_pct",)

    def __init__(self, device: ScriptedDevice) -> None:
        self.device = device
        self.timed: list[int] = []

    def evaluate(self, archs: Sequence[Cell]) -> Iterator[Evaluation]:
        for place, _ in enumerate(archs):
            self.timed.append(len(self.device.timed))
            yield Evaluation({"valid_acc_pct": float(place)})


def test_all_networks_are_timed_before_the_first_is_trained(tmp_path: Path) -> None:
    device = ScriptedDevice(PLAN)
    trains = _Trains(device)
    small = NetworkShape(channels=2, cells_per_stage=1, input_size=8)
    source = Source(CELLS, trains, {"train_sha256": "x"}, {}, small)
    joined = with_device(source, device, SPACE, "fp32", tmp_path, lambda _: None)
    found = list(joined.evaluator.evaluate(CELLS))
    assert trains.timed == [len(CELLS) * PLAN.rounds] * len(CELLS)
    assert [answer.metrics["valid_acc_pct"] for answer in found] == [0, 1, 2]
    assert all(answer.metrics["latency_ms"] == 1.0 for answer in found)
    assert joined.evaluator.metrics == (*LATENCIES, "valid_acc_pct")
    assert {*joined.identity} == {"train_sha256", "device"}


def test_an_unknown_precision_is_an_error_before_the_first_network(tmp_path: Path) -> None:
    device = ScriptedDevice(PLAN)
    source = Source(CELLS, _Trains(device), {}, {})
    with pytest.raises(UserError, match="unknown precision 'int4'"):
        with_device(source, device, SPACE, "int4", tmp_path, lambda _: None)
