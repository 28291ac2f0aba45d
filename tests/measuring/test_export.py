import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets import read_table, write_table
from brpnas.devices import ModelError, Round, TimingPlan
from brpnas.devices.store import Store
from brpnas.devices.sweep import SweepResult
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.measuring import Ended
from brpnas.measuring.choice import Models
from brpnas.measuring.export import end, export
from brpnas.measuring.jobs import Job, open_jobs, sweep_all
from brpnas.testing import NamedSource, ScriptedDevice

PLAN = TimingPlan(rounds=2, runs=2, warmup=0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "t.sqlite") as opened:
        yield opened


def _models(*names: str, **rows: str) -> Models:
    """Models by their own names, and others whose rows are called otherwise."""
    named = dict(zip(names, names, strict=True)) | rows
    sources = {row: NamedSource(name) for row, name in named.items()}
    return Models(sources, {"precision": "fp32"})


def _measured(store: Store, device: ScriptedDevice, *names: str) -> Job:
    (job,) = open_jobs(store, [device], {"precision": "fp32"}, [store.path.with_name("t.parquet")])
    sources = [NamedSource(name) for name in names]
    sweep_all([job], sources, InProcess(retries=0), lambda _: None, lambda *_: None)
    return job


def test_a_table_has_figures_samples_and_card(store: Store, tmp_path: Path) -> None:
    device = ScriptedDevice(PLAN, {"a": [2.0, 4.0]}, notes={"latency_ms": "the mean"})
    job = _measured(store, device, "a", "b")
    table = export(job, _models(x="a", y="b", z="a"), "brpnas measure --model x")
    write_table(table, tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read.archs == ["x", "y", "z"]
    assert read.metric("latency_ms").tolist() == [3.0, 1.0, 3.0]
    assert read.metric("n_samples").tolist() == [4, 4, 4]
    assert read.metric("model_bytes").tolist() == [1, 1, 1]
    shas = [hashlib.sha256(content).hexdigest() for content in (b"a", b"b", b"a")]
    assert list(read.frame["model_sha256"]) == shas
    assert list(read.frame["maker"]) == ["test"] * 3
    assert read.frame["samples_ms"].iloc[0] == "2.0000 2.0000;4.0000 4.0000"
    assert "error" not in read.frame
    card = read.card
    assert card.title == "Latency on scripted"
    assert card.source.endswith("models made by test")
    assert card.conditions == (
        "2 rounds in random order over the models, each 0 warm-up and 2 counted runs; threads: 1; "
        "delegate: cpu; headline: the mean; precision: fp32; load: 1 to 1, median 1"
    )
    assert card.rebuild == "brpnas measure --model x"
    assert card.columns["latency_ms"] == "the mean"
    assert read.intact()


def test_a_failure_is_a_row_with_its_reason_and_no_figures(store: Store) -> None:
    no = ModelError("hung")
    job = _measured(store, ScriptedDevice(PLAN, {"a": [1.0, no, no]}), "a", "b", "bad c")
    table = export(job, _models("a", "b", "bad c", "d"), "")
    assert list(table.frame)[-1] == "error"
    reasons = ["hung", None, "ValueError: bad c cannot be made", "not measured yet"]
    assert table.frame["error"].replace({np.nan: None}).tolist() == reasons
    assert np.isnan(table.metric("latency_ms")).tolist() == [True, False, True, True]
    assert table.frame["maker"].replace({np.nan: None}).tolist() == ["test", "test", None, None]


def test_models_with_too_few_rounds_have_no_figures(store: Store) -> None:
    _measured(store, ScriptedDevice(PLAN), "a")
    more = ScriptedDevice(TimingPlan(rounds=3, runs=2, warmup=0))
    (job,) = open_jobs(store, [more], {"precision": "fp32"}, [Path("t.parquet")])
    with pytest.raises(UserError, match="none of 1 models could be measured: not measured yet"):
        export(job, _models("a"), "")


def test_nothing_measured_gives_the_reasons(store: Store) -> None:
    names = [f"bad {number}" for number in range(7)]
    job = _measured(store, ScriptedDevice(PLAN), *names)
    with pytest.raises(UserError) as caught:
        export(job, _models(*names), "")
    said = "; ".join(f"ValueError: {name} cannot be made" for name in names[:5])
    assert str(caught.value) == f"none of 7 models could be measured: {said}; and 2 more"


def test_counts_are_those_of_the_table_whatever_the_sweep_saw(store: Store) -> None:
    no = ModelError("hung")
    job = _measured(store, ScriptedDevice(PLAN, {"a": [1.0, no, no]}), "a", "b")
    ended = end(job, SweepResult(7, 7, 1.5), _models("a", "b"), "")
    assert ended.error is None
    assert read_table(job.table).frame["latency_ms"].notna().sum() == 1
    summary = ended.summary()
    assert (summary["measured"], summary["failed"], summary["earlier"]) == (1, 1, 0)
    assert summary["convert_s"] == 1.5


def test_a_lost_device_keeps_the_table_of_what_it_measured(store: Store) -> None:
    job = _measured(store, ScriptedDevice(PLAN), "a")
    lost = UserError("the cable")
    ended = end(job, lost, _models("a", "b"), "")
    assert ended.error is lost
    assert read_table(job.table).frame["error"].replace({np.nan: None}).tolist() == [
        None,
        "not measured yet",
    ]
    assert ended.summary()["measured"] == 1
    nothing = end(job, lost, _models("b"), "")
    assert (nothing.table, nothing.error, nothing.summary()) == (None, lost, {})


def test_a_table_of_another_device_stays(store: Store) -> None:
    first = _measured(store, ScriptedDevice(PLAN, name="one"), "a")
    end(first, UserError("lost"), _models("a"), "")
    before = first.table.read_bytes()
    second = _measured(store, ScriptedDevice(PLAN, name="two"), "a")  # both began without a table
    ended = end(second, UserError("lost"), _models("a"), "")
    assert ended.table is None
    assert first.table.read_bytes() == before


# On top of what is there


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_rows_of_earlier_commands_stay_as_they_are(store: Store, suffix: str) -> None:
    hung = ModelError("hung")
    tables = [store.path.with_name(f"t{suffix}")]
    device = ScriptedDevice(PLAN, {"a": [2.0, 4.0], "no": [hung, hung]})
    (job,) = open_jobs(store, [device], {"precision": "fp32"}, tables)

    def go(models: Models, command: str) -> Ended:
        sources = list(models.sources.values())
        (result,) = sweep_all([job], sources, InProcess(), lambda _: None, lambda *_: None)
        return end(job, result, models, command)

    assert go(_models("a", "no", again="a"), "one").earlier == 0
    before = read_table(job.table).frame
    ended = go(_models("b", "a"), "two")
    assert ended.earlier == 2
    after = read_table(job.table)
    assert after.archs == ["a", "no", "again", "b"]
    pd.testing.assert_frame_equal(after.frame[:3], before, check_dtype=False)
    assert ended.summary()["measured"] == 3
    assert after.card.rebuild == "one && two --resume"
    go(_models("b", "a"), "two")
    assert read_table(job.table).card.rebuild == "one && two --resume"
    go(_models("a", "no", "b", again="a"), "all")
    assert read_table(job.table).card.rebuild == "all"  # makes every row


def test_what_was_measured_before_a_kill_becomes_rows_too(store: Store) -> None:
    hung = ModelError("hung")
    _measured(store, ScriptedDevice(PLAN, {"half": [1.0, hung, hung]}), "a", "half")
    job = _measured(store, ScriptedDevice(PLAN), "b")
    store.add_round(job.series, "key of c", 0, Round({"cpu_ms": (1.0,) * 2}, {}))
    end(job, UserError("lost"), _models(renamed="b"), "")
    assert read_table(job.table).archs == ["a", "renamed"]


def test_a_failure_in_a_further_round_does_not_take_figures_away(store: Store) -> None:
    job = _measured(store, ScriptedDevice(PLAN), "a", "b")
    end(job, UserError("lost"), _models("a", "b"), "")
    before = read_table(job.table).frame
    more = ScriptedDevice(TimingPlan(rounds=3, runs=2, warmup=0))
    (job,) = open_jobs(store, [more], {"precision": "fp32"}, [job.table])
    store.add_round(job.series, "key of a", 2, Round({"cpu_ms": (1.0,) * 2}, {}))
    store.add_failure(job.series, "key of b", "b", "it crashed")
    assert end(job, UserError("lost"), _models("a", "b"), "").error is not None
    after = read_table(job.table).frame
    assert after["error"].tolist()[1] == "it crashed"
    assert after["n_samples"].tolist() == [6, 4]
    pd.testing.assert_series_equal(after["latency_ms"], before["latency_ms"])


def test_rounds_that_are_missing_do_not_take_figures_away(store: Store) -> None:
    job = _measured(store, ScriptedDevice(PLAN), "a", "b")
    end(job, UserError("lost"), _models("a"), "")
    more = ScriptedDevice(TimingPlan(rounds=3, runs=2, warmup=0))
    (job,) = open_jobs(store, [more], {"precision": "fp32"}, [job.table])
    store.add_round(job.series, "key of b", 2, Round({"cpu_ms": (1.0,) * 2}, {}))
    assert end(job, UserError("lost"), _models("a", "b"), "").error is not None
    table = read_table(job.table)
    assert dict(zip(table.archs, table.metric("n_samples"), strict=True)) == {"a": 4, "b": 6}
    assert "error" not in table.frame
