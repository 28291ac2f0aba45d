import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brpnas.datasets import Card, Table, write_table
from brpnas.devices import DeviceLostError, Round, TFLiteModel, TimingPlan, sweep
from brpnas.devices.store import Store
from brpnas.devices.sweep import SweepResult
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.measuring.jobs import Job, open_jobs, open_store, store_path, sweep_all, table_paths
from brpnas.testing import NamedSource, ScriptedDevice

PLAN = TimingPlan(rounds=2, runs=1, warmup=0)
SOURCES = [NamedSource("a"), NamedSource("b")]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_RECONNECT_S", (0,))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "t.sqlite") as opened:
        yield opened


def _sweep(jobs: Any, said: list[str] | None = None) -> list[Any]:
    say = (said if said is not None else []).append
    return sweep_all(jobs, SOURCES, InProcess(retries=0), say, lambda *_: None)


def _open(store: Store, *devices: ScriptedDevice) -> list[Job]:
    tables = table_paths(store.path.with_suffix(".parquet"), devices, store.path, resume=False)
    return open_jobs(store, devices, {}, tables)


def test_the_store_lies_beside_the_table(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    assert store_path(out, resume=False) == tmp_path / "t.sqlite"


@pytest.mark.parametrize("there", ["t.parquet", "t.sqlite"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).touch()
    with pytest.raises(UserError, match=rf"{there} is there already: add --resume"):
        store_path(tmp_path / "t.parquet", resume=False)
    (tmp_path / "t.sqlite").touch()
    assert store_path(tmp_path / "t.parquet", resume=True) == tmp_path / "t.sqlite"


def test_a_table_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").touch()
    with pytest.raises(UserError, match=r"t\.parquet has no measurements beside it"):
        store_path(tmp_path / "t.parquet", resume=True)


def test_a_new_store_stays_only_with_something_in_it(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    with open_store(path) as opened:
        opened.add_failure(opened.series({}), "key", "a", "no")
    assert list(tmp_path.iterdir()) == []
    with open_store(path) as opened:
        opened.add_round(opened.series({}), "key", 0, Round({}, {}))
    assert path.exists()


def test_a_new_store_that_others_have_open_stays(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    with open_store(path):
        other = Store(path)
    other.add_round(other.series({}), "key", 0, Round({}, {}))
    other.close()
    with Store(path) as opened:
        assert opened.done(opened.series({})) == {"key": {0}}


def test_a_store_that_was_there_stays(tmp_path: Path) -> None:
    Store(tmp_path / "t.sqlite").close()
    with open_store(tmp_path / "t.sqlite"):
        pass
    assert (tmp_path / "t.sqlite").exists()


def test_several_devices_have_a_table_each(store: Store, tmp_path: Path) -> None:
    devices = [ScriptedDevice(PLAN, name="one/1"), ScriptedDevice(PLAN, name="two")]
    out = tmp_path / "t.parquet"
    tables = table_paths(out, devices, store.path, resume=False)
    assert [table.name for table in tables] == ["t-one_1.parquet", "t-two.parquet"]
    jobs = open_jobs(store, devices, {}, tables)
    assert [job.table for job in jobs] == tables
    assert len({job.series.id for job in jobs}) == 2
    tables[1].touch()
    with pytest.raises(UserError, match=r"t-two\.parquet is there already: add --resume"):
        table_paths(out, devices, store.path, resume=False)
    with pytest.raises(UserError, match=r"t-two\.parquet: not a readable parquet file"):
        table_paths(out, devices, store.path, resume=True)


def test_a_table_of_another_device_is_refused_before_measuring(
    store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "t.parquet"
    write_table(Table(pd.DataFrame({"arch": ["a"]}), Card(device="name: one; cpu: x")), out)
    one, two = (ScriptedDevice(PLAN, name=name) for name in ("one", "two"))
    assert table_paths(out, [one], store.path, resume=True) == [out]
    with pytest.raises(
        UserError, match=r"not measured on device 'two' but on another \(name: one;"
    ):
        table_paths(out, [two], store.path, resume=True)


def test_a_device_is_not_measured_twice_at_once(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device 'scripted' is given twice"):
        table_paths(tmp_path / "t.parquet", [ScriptedDevice(PLAN)] * 2, store.path, resume=False)


def test_other_conditions_are_refused_with_the_differences(store: Store, tmp_path: Path) -> None:
    out = [tmp_path / "t.parquet"]
    (job,) = open_jobs(store, [ScriptedDevice(PLAN)], {"precision": "fp32"}, out)
    more = ScriptedDevice(TimingPlan(rounds=9, runs=1, warmup=0))
    assert open_jobs(store, [more], {"precision": "fp32"}, out)[0].series == job.series
    other = ScriptedDevice(TimingPlan(runs=3, warmup=0))
    open_jobs(store, [other], {"precision": "int8"}, out)  # nothing is measured yet
    store.add_round(job.series, "key", 0, Round({"cpu_ms": (1.0,)}, {}))
    with pytest.raises(
        UserError, match="do not compare: runs was 1, now 3; precision was 'fp32', now 'int8'"
    ):
        open_jobs(store, [other], {"precision": "int8"}, out)


def test_devices_are_measured_side_by_side(store: Store) -> None:
    meeting = threading.Barrier(2)

    class Meeting(ScriptedDevice):
        def time(self, model: TFLiteModel) -> Round:
            meeting.wait(timeout=30)  # only if both run at the same time
            return super().time(model)

    devices = [Meeting(PLAN, name="one"), Meeting(PLAN, name="two")]
    jobs = _open(store, *devices)
    assert [result.measured for result in _sweep(jobs)] == [2, 2]
    assert [len(store.done(job.series)) for job in jobs] == [2, 2]


def test_a_device_that_is_lost_does_not_disturb_the_others(store: Store) -> None:
    gone = DeviceLostError("the cable")
    lost = ScriptedDevice(PLAN, {"a": [gone]}, "lost", away=[gone])
    said: list[str] = []
    jobs = _open(store, lost, ScriptedDevice(PLAN))
    first, second = _sweep(jobs, said)
    assert isinstance(first, UserError)
    assert second.measured == 2
    assert said == ["lost: the cable; trying to reconnect"]


def test_a_fault_of_the_program_does_not_disturb_the_others(store: Store) -> None:
    faulty = ScriptedDevice(PLAN, {"a": [ZeroDivisionError("oops")]}, "faulty")
    first, second = _sweep(_open(store, faulty, ScriptedDevice(PLAN)))
    assert isinstance(first, ZeroDivisionError)
    assert second.measured == 2


def test_an_interrupt_ends_all_devices_and_keeps_their_rounds(store: Store) -> None:
    class Interrupted(ScriptedDevice):
        def time(self, model: TFLiteModel) -> Round:
            if self.timed:
                raise KeyboardInterrupt
            return super().time(model)

    jobs = _open(store, Interrupted(PLAN, name="one"), Interrupted(PLAN, name="two"))
    with pytest.raises(KeyboardInterrupt):
        _sweep(jobs)
    assert 1 <= sum(len(store.done(job.series)) for job in jobs) <= 2
    assert [path.name for path in store.path.parent.glob("*models*")] == []


def test_a_model_is_made_once_for_all_devices(store: Store) -> None:
    made: list[str] = []

    @dataclass(frozen=True)
    class Counted(NamedSource):
        def __call__(self) -> TFLiteModel:
            made.append(self.name)
            return super().__call__()

    devices = [ScriptedDevice(PLAN, name=name) for name in ("one", "two", "three")]
    sources = [Counted(name) for name in ("a", "b", "bad")]
    jobs = _open(store, *devices)
    executor = InProcess(retries=0)
    results = sweep_all(jobs, sources, executor, lambda _: None, lambda *_: None)
    assert sorted(made) == ["a", "b", "bad"]
    assert [store.record(job.series, "key of a").sha256 for job in jobs] == [  # type: ignore[union-attr]
        TFLiteModel("a", b"a", "").sha256
    ] * 3
    assert [(one.measured, one.failed) for one in results if isinstance(one, SweepResult)] == [
        (2, 1)
    ] * 3


def test_a_device_in_use_is_an_error_of_its_own(store: Store) -> None:
    jobs = _open(store, ScriptedDevice(PLAN, name="taken"))
    with sweep.exclusive({"name": "taken"}):
        (result,) = _sweep(jobs)
    assert "in use" in str(result)
