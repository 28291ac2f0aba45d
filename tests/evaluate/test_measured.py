from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from brpnas.devices import ModelError, Round, TimingPlan
from brpnas.errors import UserError
from brpnas.evaluate.measured import LATENCIES, MeasuringEvaluator
from brpnas.executors import InProcess
from brpnas.testing import NamedSource, ScriptedDevice

PLAN = TimingPlan(rounds=2, runs=1, warmup=0)
Make = Callable[[ScriptedDevice], MeasuringEvaluator[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(device: ScriptedDevice) -> MeasuringEvaluator[str]:
        executor = InProcess(retries=0)
        return MeasuringEvaluator(device, tmp_path, executor, NamedSource, lambda _: None)

    return make


def test_networks_are_timed_in_turns_and_answered_in_order(make: Make) -> None:
    device = ScriptedDevice(PLAN, {"a": [2.0, 4.0]})
    evaluator = make(device)
    answers = list(evaluator.evaluate(["b", "a", "b"]))
    assert [answer.metrics["latency_ms"] for answer in answers] == [1.0, 3.0, 1.0]
    assert tuple(answers[0].metrics) == LATENCIES == evaluator.metrics
    assert sorted(device.timed[:2]) == sorted(device.timed[2:]) == ["a", "b"]


def test_a_network_that_failed_has_no_latency(make: Make) -> None:
    no = ModelError("hung")
    evaluator = make(ScriptedDevice(PLAN, {"a": [no, no]}))
    failed, other, unmade = evaluator.evaluate(["a", "b", "bad"])
    assert np.isnan(list(failed.metrics.values())).all()
    assert (failed.error, other.error) == ("hung", None)
    assert unmade.error == "ValueError: bad cannot be made"


def test_what_was_measured_before_a_kill_is_not_measured_again(make: Make) -> None:
    first = ScriptedDevice(PLAN, {"b": [UserError("stop")]})
    with pytest.raises(UserError, match="stop"):
        list(make(first).evaluate(["a", "b"]))
    second = ScriptedDevice(PLAN)
    list(make(second).evaluate(["a", "b"]))
    assert len(first.timed) - 1 + len(second.timed) == 4


class _Paced(ScriptedDevice):
    """Says of a series how its first rounds went, and of a model how it compares."""

    def usual(self, rounds: Iterable[Round]) -> float | None:
        return float(np.mean([one.samples["cpu_ms"][0] for one in rounds]))

    def summarise(self, rounds: Sequence[Round], usual: float | None = None) -> dict[str, float]:
        columns = super().summarise(rounds)
        return columns | {"latency_ms": columns["latency_ms"] / (usual or 1)}


def test_all_that_a_search_is_told_is_compared_with_the_same_rounds(make: Make) -> None:
    """Though a machine may change its pace meanwhile, and the search be continued."""
    times = {"a": [2.0, 2.0], "b": [3.0, 3.0], "c": [5.0, 5.0], "d": [8.0, 8.0]}
    evaluator = make(_Paced(PLAN, times))
    told = [*evaluator.evaluate(["a"]), *evaluator.evaluate(["b", "c"])]
    told += make(_Paced(PLAN, times)).evaluate(["a", "d"])
    assert [one.metrics["latency_ms"] for one in told] == [1.0, 1.5, 2.5, 1.0, 4.0]
