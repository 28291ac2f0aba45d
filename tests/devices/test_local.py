import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from brpnas.devices import local, trial
from brpnas.devices.litert import ModelError
from brpnas.devices.local import LocalDevice
from brpnas.devices.reference import REFERENCE, make_reference
from brpnas.devices.runtime import find_runtime
from brpnas.devices.sandbox import Sandbox
from brpnas.devices.tflite import TFLiteModel, schema
from brpnas.devices.tflite.convert import convert
from brpnas.devices.tflite.inspect import facts
from brpnas.devices.timing import Round, TimingPlan
from brpnas.errors import UserError
from brpnas.testing import LiteRTDeviceContract


class TestContract(LiteRTDeviceContract):
    def device(self, plan: TimingPlan) -> LocalDevice:
        return LocalDevice(plan)


PLAN = TimingPlan(rounds=2, runs=4, warmup=1)


def _model(channels: int, size: int = 32) -> TFLiteModel:
    layers = nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Conv2d(channels, 3, 3)).eval()
    return convert(layers, torch.zeros(1, 3, size, size), f"{channels} channels")


def test_a_round_holds_cpu_and_wall_time_of_every_run() -> None:
    before, cpu_before = time.perf_counter(), time.thread_time()
    result = LocalDevice(PLAN).time(_model(8))
    elapsed = 1e3 * (time.perf_counter() - before)
    cpu_elapsed = 1e3 * (time.thread_time() - cpu_before)
    assert set(result.samples) == {"cpu_ms", "wall_ms"}
    assert len(result.samples["cpu_ms"]) == len(result.samples["wall_ms"]) == 4
    assert 0 < sum(result.samples["cpu_ms"]) < cpu_elapsed
    assert 0 < sum(result.samples["wall_ms"]) < elapsed


ROUNDS = [
    Round({"cpu_ms": (1.0, 2.0, 6.0), "wall_ms": (9.0, 3.0, 7.0)}, {"reference_ms": 0.2}),
    Round({"cpu_ms": (12.0, 8.0, 8.0), "wall_ms": (5.0, 4.0, 8.0)}, {"reference_ms": 0.8}),
]


def test_the_headline_of_one_thread_is_the_least_at_full_pace() -> None:
    columns = LocalDevice(TimingPlan()).summarise(ROUNDS, usual=0.8)
    assert columns == {
        "latency_ms": 8.0,  # the other round went four times as fast: it is not comparable
        "latency_ms_min": 1.0,
        "latency_ms_std": pytest.approx(np.std([1, 2, 6, 12, 8, 8])),
        "latency_ms_wall_median": 6.0,
        "latency_ms_wall_min": 3.0,
        "n_samples": 6,
    }


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ((0.2, 0.4, 0.21), 1.0),  # the least of the first and the third
        ((0.4, 0.6, 0.3), 1.0),  # the middle of 0.5, 5 / 3 and 1
        ((None, None, None), 1.0),
        ((0.4, None, 0.3), 5.0),  # a round without a pace counts as undisturbed
    ],
)
def test_a_model_without_a_round_at_full_pace_is_judged_by_its_pace(
    references: tuple[float | None, ...], expected: float
) -> None:
    rounds = [
        Round({"cpu_ms": (least, 9.0), "wall_ms": (9.0, 9.0)}, {"reference_ms": reference})
        for least, reference in zip((1.0, 5.0, 1.5), references, strict=True)
    ]
    device = LocalDevice(TimingPlan())
    assert device.summarise(rounds, usual=0.2)["latency_ms"] == pytest.approx(expected)


def test_an_undisturbed_pace_is_that_of_a_tenth_of_all_rounds() -> None:
    device = LocalDevice(TimingPlan())
    rounds = [
        Round({"cpu_ms": (reference,), "wall_ms": (1.0,)}, {"reference_ms": reference})
        for reference in [0.1, 0.3, *[0.5] * 9]
    ]
    assert device.usual(rounds) == pytest.approx(0.3)
    assert device.usual([Round({"cpu_ms": (1.0,), "wall_ms": (1.0,)})]) is None


def test_a_round_notes_the_reference_network_where_cpu_time_counts() -> None:
    model = _model(8)
    reference = LocalDevice(PLAN).time(model).conditions["reference_ms"]
    assert isinstance(reference, float)
    assert 0 < reference < 100
    several = LocalDevice(TimingPlan(rounds=1, runs=1, threads=2)).time(model)
    assert "reference_ms" not in several.conditions


def test_the_headline_of_several_threads_is_the_smallest_wall_time() -> None:
    device = LocalDevice(TimingPlan(threads=2))
    columns = device.summarise(ROUNDS)
    assert (columns["latency_ms"], columns["latency_ms_min"]) == (3.0, 3.0)
    assert columns["latency_ms_std"] == pytest.approx(np.std([9, 3, 7, 5, 4, 8]))
    assert "minimum of the wall time" in device.notes["latency_ms"]


def test_a_model_that_the_runtime_rejects_fails_alone() -> None:
    device = LocalDevice(PLAN)
    with pytest.raises(ModelError, match=r"cannot run 'garbage': .*not a valid Flatbuffer"):
        device.time(TFLiteModel("garbage", b"garbage" * 99, "file"))
    assert device.time(_model(4)).samples["cpu_ms"]


def _crashing() -> TFLiteModel:
    """A transposition without its input, at which the runtime crashes."""
    tables = schema.tables()
    model = tables.ModelT.InitFromPackedBuf(_model(4).content, 0)
    operator = model.subgraphs[0].operators[0]
    operator.inputs = [-1, *operator.inputs[1:]]
    builder = schema.builder(1024)
    builder.Finish(model.Pack(builder), schema.IDENTIFIER)
    return TFLiteModel("crashing", bytes(builder.Output()), "file")


def test_a_model_that_crashes_the_runtime_fails_alone() -> None:
    device = LocalDevice(PLAN)
    with pytest.raises(ModelError, match=r"cannot run 'crashing': it crashes \(SIGSEGV\)"):
        device.time(_crashing())
    assert device.time(_model(4)).samples["cpu_ms"]


def test_a_foreign_model_that_takes_too_long_is_stopped() -> None:
    slow = convert(nn.Conv2d(64, 64, 31), torch.zeros(1, 64, 300, 300), "slow")
    with pytest.raises(ModelError, match=r"'slow': it took more than 0\.5 s to load and run once"):
        LocalDevice(TimingPlan(timeout_s=0.5)).time(dataclasses.replace(slow, maker="file"))


def test_only_foreign_models_are_tried_first_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device, own = LocalDevice(PLAN), _model(4)
    foreign = dataclasses.replace(own, maker=f"{own.maker}, ai-edge-quantizer 0.10")
    tried: list[bytes] = []
    try_once = Sandbox.try_once
    monkeypatch.setattr(
        Sandbox, "try_once", lambda self, content: tried.append(content) or try_once(self, content)
    )
    for model, expected in [(own, 0), (foreign, 1), (foreign, 1)]:
        assert device.time(model).samples["cpu_ms"]
        assert len(tried) == expected


def test_the_reference_is_what_would_be_written_today() -> None:
    outputs = []
    for content in (REFERENCE.read_bytes(), make_reference()):
        interpreter = find_runtime().load(content, 1)
        trial.fill_inputs(interpreter)
        interpreter.invoke()
        (output,) = interpreter.get_output_details()
        outputs.append(interpreter.get_tensor(output["index"]))
    assert np.array_equal(*outputs)
    assert facts(REFERENCE.read_bytes(), "kept") == facts(make_reference(), "written")


def test_the_gate_needs_nothing_that_writes_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    local._reference.cache_clear()
    assert LocalDevice(PLAN).wait_until_fit(lambda _: None)


def test_cores_that_may_not_be_used_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    count = os.cpu_count() or 1
    assert LocalDevice(PLAN).identity()["cores"].endswith(str(count))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)
    assert LocalDevice(PLAN).identity()["cores"] == str(count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert LocalDevice(PLAN).identity()["cores"] == "1 of 2"


def test_another_delegate_is_refused() -> None:
    with pytest.raises(UserError, match="'local' has no delegate 'gpu'; accepted: cpu"):
        LocalDevice(TimingPlan(delegate="gpu"))


class _Clock:
    """Time that passes at a set share of CPU time, and slower or faster for the reference."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.share, self.cost, self.cpu, self.wall = 1.0, 0.01, 0.0, 0.0
        monkeypatch.setattr(local.time, "thread_time", lambda: self.cpu)
        monkeypatch.setattr(local.time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(local.time, "monotonic", lambda: self.wall)
        monkeypatch.setattr(local, "_reference", lambda _: self)
        self.slept: list[float] = []

    def invoke(self) -> None:
        self.cpu += self.cost
        self.wall += self.cost / self.share

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.wall += seconds
        if len(self.slept) == 3:
            self.share, self.cost = 1.0, 0.01


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    return _Clock(monkeypatch)


def test_an_idle_machine_is_measured_at_once(clock: _Clock) -> None:
    said: list[str] = []
    conditions = LocalDevice(PLAN).wait_until_fit(said.append, clock.sleep)
    assert (said, clock.slept) == ([], [])
    assert conditions["share_of_core"] == 1.0


def test_a_busy_machine_is_waited_for(clock: _Clock) -> None:
    said: list[str] = []
    clock.share = 0.4
    LocalDevice(PLAN).wait_until_fit(said.append, clock.sleep)
    assert len(clock.slept) == 3
    assert said == [
        "this machine is too busy: a program gets 40% of a core, 50% are needed; waiting up to "
        "120 s for other programs to end"
    ]


def test_wall_times_need_an_idle_machine(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: 1)  # one thread alone moves the clock
    clock.share = 0.8
    LocalDevice(PLAN).wait_until_fit(lambda _: None, clock.sleep)
    assert clock.slept == []
    clock.share = 0.8
    LocalDevice(TimingPlan(threads=2)).wait_until_fit(lambda _: None, clock.sleep)
    assert len(clock.slept) == 3


@pytest.fixture
def two_cores() -> Iterator[None]:
    """Let this thread, and what it starts, use two cores."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("this process may use one core only")
    os.sched_setaffinity(0, sorted(before)[:2])
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
@pytest.mark.usefixtures("two_cores")
def test_two_threads_need_two_idle_cores() -> None:
    def stop(_: float) -> None:
        raise InterruptedError

    said: list[str] = []
    spin = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    with subprocess.Popen(spin, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(InterruptedError):
                LocalDevice(TimingPlan(threads=2)).wait_until_fit(said.append, stop)
        finally:
            other.kill()
    assert re.search(r"one of 2 threads gets \d+% of a core, 90% are needed", said[0])


def test_a_slow_reference_is_waited_for(clock: _Clock) -> None:
    device, said = LocalDevice(PLAN), list[str]()
    device.wait_until_fit(said.append, clock.sleep)
    clock.wall += 60
    clock.cost = 0.03
    device.wait_until_fit(said.append, clock.sleep)
    assert said == [
        "this machine is too busy: a reference network takes 3.0 times as long as it did; "
        "waiting up to 120 s for other programs to end"
    ]


def test_a_machine_that_stays_slow_is_put_up_with(clock: _Clock) -> None:
    device, said = LocalDevice(PLAN), list[str]()
    device.wait_until_fit(said.append, clock.sleep)
    clock.wall += 60
    clock.cost = 0.03
    clock.slept = [0.0] * 3  # it does not end
    device.wait_until_fit(said.append, clock.sleep)
    assert said[1:] == ["it stays so; times are compared at the reference network's pace"]
    clock.wall += 60
    began = clock.wall
    device.wait_until_fit(said.append, clock.sleep)
    assert clock.wall < began + 1  # and is not waited for again
    assert len(said) == 2


def test_wall_times_are_not_taken_on_a_slow_machine(clock: _Clock) -> None:
    device = LocalDevice(TimingPlan(threads=2))
    device.wait_until_fit(lambda _: None, clock.sleep)
    clock.wall += 60
    clock.cost = 0.03
    clock.slept = [0.0] * 3
    with pytest.raises(UserError, match=r"reference network takes 3\.0 times as long.*--resume"):
        device.wait_until_fit(lambda _: None, clock.sleep)


def test_a_machine_that_stays_busy_is_refused(clock: _Clock) -> None:
    clock.share = 0.1
    with pytest.raises(UserError, match=r"too busy to measure on: .*10% of a core.*--resume"):
        LocalDevice(PLAN).wait_until_fit(lambda _: None, lambda _: None)


def test_the_machine_is_looked_at_every_few_seconds_only(clock: _Clock) -> None:
    device = LocalDevice(PLAN)
    device.wait_until_fit(lambda _: None)
    looked = clock.wall
    device.wait_until_fit(lambda _: None)
    assert clock.wall == looked
    clock.wall += 6
    device.wait_until_fit(lambda _: None)
    assert clock.wall > looked + 6


def test_inputs_of_every_type_are_filled() -> None:
    given: dict[int, Any] = {}
    kinds = [np.float32, np.int8, np.uint8, np.int32, np.float16, np.bool_]

    class Interpreter:
        def get_input_details(self) -> list[dict[str, Any]]:
            shape = np.array([2, 3])
            return [{"index": at, "dtype": kind, "shape": shape} for at, kind in enumerate(kinds)]

        def set_tensor(self, index: int, values: Any) -> None:
            given[index] = values

    trial.fill_inputs(Interpreter())
    assert [given[at].dtype for at in range(len(kinds))] == kinds
    assert given[0].std() > 0.1
    assert set(given[3].flatten()) <= {0, 1}
