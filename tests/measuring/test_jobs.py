import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brpnas.devices import DeviceLostError, Round, TFLiteModel, TimingPlan, sweep
from brpnas.devices.store import Store
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.measuring import open_jobs, store_path, sweep_all
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


def test_several_devices_have_a_table_each(store: Store, tmp_path: Path) -> None:
    devices = [ScriptedDevice(PLAN, name="one/1"), ScriptedDevice(PLAN, name="two")]
    jobs = open_jobs(store, devices, {}, tmp_path / "t.parquet")
    assert [job.table.name for job in jobs] == ["t-one_1.parquet", "t-two.parquet"]
    assert len({job.series.id for job in jobs}) == 2


def test_a_device_is_not_measured_twice_at_once(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device 'scripted' is given twice"):
        open_jobs(store, [ScriptedDevice(PLAN)] * 2, {}, tmp_path / "t.parquet")


def test_other_conditions_are_refused_with_the_differences(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    (job,) = open_jobs(store, [ScriptedDevice(PLAN)], {"precision": "fp32"}, out)
    more = ScriptedDevice(TimingPlan(rounds=9, runs=1, warmup=0))
    assert open_jobs(store, [more], {"precision": "fp32"}, out)[0].series == job.series
    other = ScriptedDevice(TimingPlan(runs=3, warmup=0))
    with pytest.raises(
        UserError, match="do not compare: runs was 1, now 3; precision was 'fp32', now 'int8'"
    ):
        open_jobs(store, [other], {"precision": "int8"}, out)


def test_devices_are_measured_side_by_side(store: Store, tmp_path: Path) -> None:
    meeting = threading.Barrier(2)

    class Meeting(ScriptedDevice):
        def time(self, model: TFLiteModel) -> Round:
            meeting.wait(timeout=30)  # only if both run at the same time
            return super().time(model)

    devices = [Meeting(PLAN, name="one"), Meeting(PLAN, name="two")]
    jobs = open_jobs(store, devices, {}, tmp_path / "t.parquet")
    assert [result.measured for result in _sweep(jobs)] == [2, 2]
    assert [len(store.done(job.series)) for job in jobs] == [2, 2]


def test_a_device_that_is_lost_does_not_disturb_the_others(store: Store, tmp_path: Path) -> None:
    gone = DeviceLostError("the cable")
    lost = ScriptedDevice(PLAN, {"a": [gone]}, "lost", away=[gone])
    said: list[str] = []
    jobs = open_jobs(store, [lost, ScriptedDevice(PLAN)], {}, tmp_path / "t.parquet")
    first, second = _sweep(jobs, said)
    assert isinstance(first, UserError)
    assert second.measured == 2
    assert said == ["lost: the cable; trying to reconnect"]


def test_a_device_in_use_is_an_error_of_its_own(store: Store, tmp_path: Path) -> None:
    jobs = open_jobs(store, [ScriptedDevice(PLAN, name="taken")], {}, tmp_path / "t.parquet")
    with sweep.exclusive({"name": "taken"}):
        (result,) = _sweep(jobs)
    assert "in use" in str(result)
