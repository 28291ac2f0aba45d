import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brpnas.devices.litert import DeviceLostError, ModelError
from brpnas.devices.spread import SpreadSweep
from brpnas.devices.store import Store
from brpnas.devices.sweep import describe_series
from brpnas.devices.timing import TimingPlan
from brpnas.errors import UserError
from brpnas.executors import InProcess, Outcome

PLAN = TimingPlan(rounds=2, runs=1, warmup=0)


@pytest.fixture
def spread(tmp_path: Path, scripted: Any) -> Callable[..., tuple[SpreadSweep, list[Any]]]:
    def make(
        there: str = "scripted", busy: bool = False, **script: Any
    ) -> tuple[SpreadSweep, list[Any]]:
        opened: list[Any] = []

        def open_device(plan: TimingPlan) -> Any:
            opened.append(scripted(plan, script, there, busy=[0.0] * PLAN.rounds if busy else []))
            return opened[-1]

        here, store = scripted(PLAN), Store(tmp_path / "s.sqlite")
        series = store.series(describe_series(here))
        executor = InProcess(retries=0)
        return SpreadSweep(open_device, here, store, series, executor), opened

    return make


def test_workers_make_and_time_their_shares(spread: Any, named: Any) -> None:
    sweep, opened = spread()
    seen: list[tuple[int, int]] = []
    result = sweep.run([named(f"m{number}") for number in range(40)], lambda *at: seen.append(at))
    assert (result.measured, result.failed) == (40, 0)
    assert len(opened) == 2
    assert sum(len(device.timed) for device in opened) == 80
    assert sweep.device.timed == []
    assert seen == [(64, 80), (80, 80)]
    done = sweep.store.done(sweep.series)
    assert len(done) == 40
    assert set(map(frozenset, done.values())) == {frozenset({0, 1})}


class _KilledBeforeTheFirst(InProcess):
    """Comes to the first item last, and not to its end."""

    def as_completed(self, function: Any, items: Any) -> Iterator[tuple[int, Outcome[Any]]]:
        yield from ((place, Outcome(function(items[place]))) for place in range(1, len(items)))
        raise KeyboardInterrupt


def test_a_kill_costs_no_share_that_is_done(spread: Any, named: Any) -> None:
    sweep, _ = spread()
    killed = dataclasses.replace(sweep, executor=_KilledBeforeTheFirst())
    with pytest.raises(KeyboardInterrupt):
        killed.run([named(f"m{number}") for number in range(70)])
    assert len(sweep.store.done(sweep.series)) == 70 - 32


def test_what_is_there_is_not_measured_again(spread: Any, named: Any) -> None:
    sweep, _ = spread()
    sweep.run([named("a")])
    again, opened = spread()
    again.run([named("a"), named("b")])
    assert [device.timed for device in opened] == [["b", "b"]]


def test_failures_are_kept_with_their_reason(spread: Any, named: Any) -> None:
    sweep, _ = spread(a=[1.0, ModelError("no"), ModelError("no")])
    result = sweep.run([named("a"), named("b")])
    assert (result.measured, result.failed) == (1, 1)
    record = sweep.store.record(sweep.series, "key of a")
    assert record is not None
    assert record.error == "no"


def test_machines_that_differ_are_refused(spread: Any, named: Any) -> None:
    sweep, _ = spread(there="another machine")
    with pytest.raises(UserError, match="not equal: name is 'another machine' there"):
        sweep.run([named("a")])
    assert sweep.store.done(sweep.series) == {}


def test_a_model_that_fails_once_gets_a_second_chance(spread: Any, named: Any) -> None:
    sweep, opened = spread(a=[ModelError("hiccup")])
    assert sweep.run([named("a"), named("b")]).failed == 0
    assert [device.timed.count("a") for device in opened] == [3]


def test_models_of_a_worker_that_crashes_are_tried_alone(spread: Any, named: Any) -> None:
    sweep, opened = spread(a=[RuntimeError("out of memory")] * 9)
    seen: list[tuple[int, int]] = []
    result = sweep.run([named("a"), named("b"), named("bad")], lambda *at: seen.append(at))
    assert (result.measured, result.failed) == (1, 2)
    assert seen[-1] == (6, 6)
    record = sweep.store.record(sweep.series, "key of a")
    assert record is not None
    assert record.error == "its worker failed: RuntimeError: out of memory"
    assert sweep.store.done(sweep.series) == {"key of b": {0, 1}}
    assert opened[-1].timed in (["a"], ["b", "b"])


def test_a_worker_that_cannot_measure_ends_the_sweep(spread: Any, named: Any) -> None:
    sweep, _ = spread(a=[1.0, DeviceLostError("too busy")])
    with pytest.raises(UserError, match="a worker cannot measure: too busy"):
        sweep.run([named("a")])
    assert sweep.store.done(sweep.series) == {"key of a": {0}}  # what was measured is kept


def test_what_workers_wait_for_is_said(spread: Any, named: Any) -> None:
    said: list[str] = []
    sweep, _ = spread(busy=True)
    dataclasses.replace(sweep, say=said.append).run([named("a")])
    assert said == ["on a worker: waiting: busy"] * 2


def test_several_threads_would_disturb_each_other(
    scripted: Any, named: Any, tmp_path: Path
) -> None:
    device = scripted(TimingPlan(threads=2))
    with Store(tmp_path / "s.sqlite") as store:
        series = store.series(describe_series(device))
        sweep = SpreadSweep(scripted, device, store, series, InProcess())
        with pytest.raises(UserError, match=r"2 threads: .*share a machine.*use --threads 1"):
            sweep.run([named("a")])
