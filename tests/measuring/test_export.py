from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from brpnas.datasets import read_table, write_table
from brpnas.devices import ModelError, TimingPlan
from brpnas.devices.store import Store
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.measuring import Job, Wanted, end, export, open_jobs, sweep_all
from brpnas.testing import NamedSource, ScriptedDevice

PLAN = TimingPlan(rounds=2, runs=2, warmup=0)
WANTED = Wanted(models=("x",))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "t.sqlite") as opened:
        yield opened


def _measured(store: Store, device: ScriptedDevice, *names: str) -> Job:
    (job,) = open_jobs(store, [device], {"precision": "fp32"}, [store.path.with_name("t.parquet")])
    sources = [NamedSource(name) for name in names]
    sweep_all([job], sources, InProcess(retries=0), lambda _: None, lambda *_: None)
    return job


def test_a_table_has_figures_samples_and_card(store: Store, tmp_path: Path) -> None:
    device = ScriptedDevice(PLAN, {"a": [2.0, 4.0]}, notes={"latency_ms": "the mean"})
    job = _measured(store, device, "a", "b")
    rows = {"x": NamedSource("a"), "y": NamedSource("b"), "z": NamedSource("a")}
    table = export(job, rows, WANTED, "brpnas measure --model x")
    write_table(table, tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read.archs == ["x", "y", "z"]
    assert read.metric("latency_ms").tolist() == [3.0, 1.0, 3.0]
    assert read.metric("n_samples").tolist() == [4, 4, 4]
    assert read.metric("model_bytes").tolist() == [1, 1, 1]
    assert read.frame["samples_ms"].iloc[0] == "2.0000 2.0000;4.0000 4.0000"
    assert "error" not in read.frame
    card = read.card
    assert card.title == "Latency on scripted"
    assert card.source.endswith("models made by test")
    assert card.conditions == (
        "2 rounds in random order over the models, each 0 warm-up and 2 counted runs; threads: 1; "
        "delegate: cpu; precision: fp32; load: 1 to 1, median 1"
    )
    assert card.rebuild == "brpnas measure --model x"
    assert card.columns["latency_ms"] == "the mean"
    assert read.intact()


def test_a_failure_is_a_row_with_its_reason_and_no_figures(store: Store) -> None:
    no = ModelError("hung")
    job = _measured(store, ScriptedDevice(PLAN, {"a": [1.0, no, no]}), "a", "b", "bad c")
    rows = {name: NamedSource(name) for name in ("a", "b", "bad c", "d")}
    table = export(job, rows, WANTED, "")
    assert list(table.frame)[-1] == "error"
    reasons = ["hung", None, "ValueError: bad c cannot be made", "not measured yet"]
    assert table.frame["error"].replace({np.nan: None}).tolist() == reasons
    assert np.isnan(table.metric("latency_ms")).tolist() == [True, False, True, True]


def test_models_with_too_few_rounds_have_no_figures(store: Store) -> None:
    _measured(store, ScriptedDevice(PLAN), "a")
    more = ScriptedDevice(TimingPlan(rounds=3, runs=2, warmup=0))
    (job,) = open_jobs(store, [more], {"precision": "fp32"}, [Path("t.parquet")])
    with pytest.raises(UserError, match="none of 1 models could be measured: not measured yet"):
        export(job, {"a": NamedSource("a")}, WANTED, "")


def test_nothing_measured_gives_the_reasons(store: Store) -> None:
    names = [f"bad {number}" for number in range(7)]
    job = _measured(store, ScriptedDevice(PLAN), *names)
    with pytest.raises(UserError) as caught:
        export(job, {name: NamedSource(name) for name in names}, WANTED, "")
    said = "; ".join(f"ValueError: {name} cannot be made" for name in names[:5])
    assert str(caught.value) == f"none of 7 models could be measured: {said}; and 2 more"


def test_counts_are_those_of_the_table_whatever_the_sweep_saw(store: Store) -> None:
    no = ModelError("hung")
    names = {name: NamedSource(name) for name in ("a", "b")}
    _measured(store, ScriptedDevice(PLAN, {"a": [1.0, no, no]}), "a", "b")
    fewer = ScriptedDevice(TimingPlan(rounds=1, runs=2, warmup=0))
    tables = [store.path.with_name("t.parquet")]
    (job,) = open_jobs(store, [fewer], {"precision": "fp32"}, tables)
    sources = list(names.values())
    (result,) = sweep_all([job], sources, InProcess(), lambda _: None, lambda *_: None)
    ended = end(job, result, names, WANTED, "")
    assert ended.error is None
    frame = read_table(job.table).frame
    summary = ended.summary()
    assert (summary["measured"], summary["failed"]) == (1, 1)
    assert frame["latency_ms"].notna().sum() == 1
    assert summary["convert_s"] >= 0


def test_a_lost_device_keeps_the_table_of_what_it_measured(store: Store) -> None:
    job = _measured(store, ScriptedDevice(PLAN), "a")
    names = {name: NamedSource(name) for name in ("a", "b")}
    lost = UserError("the cable")
    ended = end(job, lost, names, WANTED, "")
    assert ended.error is lost
    assert read_table(job.table).frame["error"].replace({np.nan: None}).tolist() == [
        None,
        "not measured yet",
    ]
    assert ended.summary()["measured"] == 1
    nothing = end(job, lost, {"b": NamedSource("b")}, WANTED, "")
    assert (nothing.table, nothing.error, nothing.summary()) == (None, lost, {})


def test_a_table_of_another_device_stays(store: Store) -> None:
    first = _measured(store, ScriptedDevice(PLAN, name="one"), "a")
    rows = {"a": NamedSource("a")}
    end(first, UserError("lost"), rows, WANTED, "")
    before = first.table.read_bytes()
    second = _measured(store, ScriptedDevice(PLAN, name="two"), "a")  # both began without a table
    ended = end(second, UserError("lost"), rows, WANTED, "")
    assert ended.table is None
    assert first.table.read_bytes() == before
