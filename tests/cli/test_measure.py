from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from emulated_phone import EmulatedPhone
from torch import nn

from brpnas.cli._names import PREDICTOR_NAMES, SPACE_NAMES, either
from brpnas.datasets import open_table
from brpnas.devices import LocalDevice, Round, TFLiteModel, sweep
from brpnas.devices.store import Store
from brpnas.devices.tflite import convert
from brpnas.predictors import PREDICTORS
from brpnas.resolver import SPACES
from brpnas.spaces import NASBench201

# As the fixtures have it for this process: other programs are not waited for.
HURRIED = "from brpnas.devices import local; local._ENOUGH = dict.fromkeys(local._ENOUGH, 0.0)"
PROGRAM = (sys.executable, "-c", f"{HURRIED}; from brpnas.cli import main; main()")
SMALL = ("--cells-per-stage", 1, "--channels", 4, "--input-size", 8)
FEW = ("--rounds", 2, "--runs", 2, "--warmup", 1, "--executor", "inline")
SPACE = ("--space", "nasbench201", *SMALL, *FEW)
ALL = ("--space", "nasbench201", "--all")


@pytest.fixture(autouse=True)
def _here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.chdir(tmp_path)
    # This machine may be measured on outside of the tests: they lend their own.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def model(tmp_path: Path) -> str:
    made = convert(nn.Conv2d(3, 4, 3).eval(), torch.zeros(1, 3, 8, 8), "small")
    (tmp_path / "small.tflite").write_bytes(made.content)
    return "small.tflite"


def test_cells_on_this_machine(brpnas: Any) -> None:
    result = brpnas.json("measure", *SPACE, "--sample", 5, "--out", "t.parquet")
    assert (result["measured"], result["failed"], result["table"]) == (5, 0, "t.parquet")
    assert result["device"]["name"] == "local"
    assert result["wall_s"] > 0
    table = open_table("t.parquet")
    assert len(table) == 5
    assert (table.metric("latency_ms") > 0).all()
    assert table.metric("n_samples").tolist() == [4] * 5
    assert table.card.space == "nasbench201"
    assert "ai-edge-litert" in table.card.device
    assert "--sample 5" in table.card.rebuild


def test_the_command_on_the_card_makes_the_table(brpnas: Any) -> None:
    (only,) = NASBench201().sample(1, np.random.default_rng(0))
    Path("one.txt").write_text(f"{only}\n")
    brpnas("measure", *SPACE, "--archs", "one.txt", "--out", "t.parquet")
    program, *words = shlex.split(open_table("t.parquet").card.rebuild)
    assert program == "brpnas"
    words[words.index("t.parquet")] = "again.parquet"
    brpnas(*words)
    assert open_table("again.parquet").archs == open_table("t.parquet").archs


def test_all_kinds_of_models_and_one_that_cannot_be_measured(brpnas: Any, model: str) -> None:
    Path("garbage.tflite").write_bytes(b"garbage" * 100)
    Path("nets_of_this_test.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)\n"
    )
    named = ("--model", model, "--model", "garbage.tflite", "--model", "nets_of_this_test:make")
    done = brpnas("measure", *named, *FEW, "--out", "t.csv", "--json")
    result = json.loads(done.stdout)
    assert (result["measured"], result["failed"]) == (2, 1)
    assert done.stderr.endswith("the column error of t.csv says why 1 failed\n")
    table = open_table("t.csv")
    assert table.key == "model"
    assert table.archs == [model, "garbage.tflite", "nets_of_this_test:make"]
    assert "garbage.tflite" in table.frame["error"][1]
    assert table.metric("latency_ms")[[0, 2]].min() > 0


def test_int8_beside_fp32(brpnas: Any) -> None:
    brpnas("measure", *SPACE, "--sample", 1, "--out", "a.parquet")
    brpnas("measure", *SPACE, "--sample", 1, "--precision", "int8", "--out", "b.parquet")
    small, large = open_table("b.parquet"), open_table("a.parquet")
    assert small.archs == large.archs
    assert small.metric("model_bytes") < large.metric("model_bytes")


def _rounds(store: Path) -> int:
    """Count the rounds that a store holds, while it is written."""
    if not store.exists():
        return 0
    with Store(store) as opened:
        kept = [opened.done(series) for series in opened.all_series()]
    return sum(len(rounds) for models in kept for rounds in models.values())


def test_resume_after_a_kill(brpnas: Any, tmp_path: Path) -> None:
    asked = [str(word) for word in ("measure", *SPACE, "--sample", 8, "--out", "t.parquet")]
    store, deadline = tmp_path / "t.sqlite", time.monotonic() + 120
    with subprocess.Popen([*PROGRAM, *asked, "--rounds", "45"], cwd=tmp_path) as process:
        try:
            while _rounds(store) < 60:
                assert process.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.kill()
    before = _rounds(store)
    assert not (tmp_path / "t.parquet").exists()
    assert "add --resume" in brpnas.error(*asked)
    result = brpnas.json(*asked, "--rounds", 45, "--resume")
    assert (result["measured"], _rounds(store)) == (8, 360)
    assert before < 360
    assert (open_table("t.parquet").metric("n_samples") == 90).all()


def test_other_conditions_are_not_mixed(brpnas: Any) -> None:
    asked = ("measure", *SPACE, "--sample", 2, "--out", "t.parquet")
    brpnas(*asked)
    said = brpnas.error(*asked, "--runs", 3, "--resume")
    assert "do not compare: runs was 2, now 3" in said
    more = brpnas.json(*asked, "--rounds", 3, "--resume")
    assert more["measured"] == 2
    assert (open_table("t.parquet").metric("n_samples") == 6).all()


def test_other_networks_are_added_to_the_table(brpnas: Any) -> None:
    asked = ("measure", *SPACE, "--out", "t.parquet", "--json", "--sample", 2)
    brpnas(*asked)
    before = open_table("t.parquet").frame
    done = brpnas(*asked, "--seed", 1, "--resume")
    result = json.loads(done.stdout)
    assert (result["measured"], result["failed"], result["earlier"]) == (4, 0, 2)
    assert done.stderr.endswith("t.parquet keeps rows of earlier commands: 2\n")
    after = open_table("t.parquet")
    pd.testing.assert_frame_equal(after.frame[:2], before)
    assert after.frame["maker"].str.startswith("brpnas ").all()
    first, second = after.card.rebuild.split(" && ")
    assert "--sample 2 --channels" in first
    assert second.endswith("--seed 1 --resume")


def test_networks_of_another_size_or_space_are_not_mixed(brpnas: Any) -> None:
    asked = ("measure", *SPACE, "--sample", 1, "--out", "t.parquet")
    brpnas(*asked)
    said = brpnas.error(*asked, "--channels", 8, "--resume")
    assert "do not compare: channels was '4', now '8'; choose another --out" in said
    Path("cells.txt").write_text("1:")
    others = ("--space", "nasbench101", "--archs", "cells.txt", *SMALL, *FEW)
    said = brpnas.error("measure", *others, "--out", "t.parquet", "--resume")
    assert "space was 'nasbench201', now 'nasbench101'" in said


def test_networks_have_the_size_that_their_space_was_published_with(brpnas: Any) -> None:
    Path("cells.txt").write_text("1:")
    asked = ("--space", "nasbench101", "--archs", "cells.txt", "--cells-per-stage", 1)
    brpnas("measure", *asked, "--input-size", 8, *FEW, "--out", "t.parquet")
    assert "; channels: 128; cells_per_stage: 1; input_size: 8; " in (
        open_table("t.parquet").card.conditions
    )


def test_names_in_help_texts_are_those_that_there_are(brpnas: Any) -> None:
    assert tuple(sorted(SPACES)) == SPACE_NAMES
    assert tuple(PREDICTORS) == PREDICTOR_NAMES
    assert either(SPACE_NAMES) in " ".join(brpnas("measure", "--help").stdout.split())


def test_on_a_phone(brpnas: Any, phone: EmulatedPhone, model: str) -> None:
    asked = ("measure", "--device", "mine.toml", "--address", phone.address, "--model", model)
    result = brpnas.json(*asked, "--rounds", 2, "--runs", 3, "--out", "t.parquet")
    assert result["measured"] == 1
    assert result["device"]["serial"]
    table = open_table("t.parquet")
    assert table.metric("latency_ms")[0] > 0
    assert table.metric("n_samples")[0] >= 6


def test_two_phones_at_once_have_a_table_each(
    brpnas: Any, phone: EmulatedPhone, model: str, tmp_path: Path
) -> None:
    other = EmulatedPhone(tmp_path / "other")
    try:
        other.write("properties/ro.serialno", "other")
        where = ("--address", phone.address, "--address", other.address)
        asked = ("measure", "--device", "mine.toml", *where, "--model", model)
        result = brpnas.json(*asked, "--rounds", 2, "--runs", 2, "--out", "t.parquet")
    finally:
        other.close()
    tables = [one["table"] for one in result["devices"]]
    assert len(set(tables)) == 2
    assert all(open_table(table).metric("latency_ms")[0] > 0 for table in tables)


def test_a_phone_that_is_lost_in_mid_run_is_waited_for(
    brpnas: Any, phone: EmulatedPhone, model: str
) -> None:
    phone.faults.kill_in, phone.faults.down_s = "--num_runs", 0.5
    asked = ("measure", "--device", "mine.toml", "--address", phone.address, "--model", model)
    done = brpnas(*asked, "--rounds", 2, "--runs", 2, "--out", "t.parquet")
    assert "trying to reconnect" in done.stderr
    assert open_table("t.parquet").metric("latency_ms")[0] > 0


def test_a_phone_that_stays_lost_does_not_cost_the_table_of_the_other(
    brpnas: Any, phone: EmulatedPhone, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_RECONNECT_S", (0,))
    other = EmulatedPhone(tmp_path / "other")
    try:
        other.write("properties/ro.serialno", "gone")
        other.faults.kill_in, other.faults.down_s = "--num_runs", 600
        where = ("--address", phone.address, "--address", other.address)
        asked = ("measure", "--device", "mine.toml", *where, "--model", model)
        done = brpnas(*asked, *FEW, "--out", "t.parquet", "--json", code=2)
    finally:
        other.close()
    assert "error: device 'gone': " in done.stderr
    result = json.loads(done.stdout)
    (kept,) = result["devices"]
    assert (kept["measured"], open_table(kept["table"]).metric("latency_ms")[0] > 0) == (1, True)
    (lost,) = result["lost"]
    assert lost["device"] == "gone"
    assert "--resume" in lost["error"]


def test_a_fault_of_the_program_is_shown_after_the_tables_are_written(
    brpnas: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_one = LocalDevice.time
    timed: list[str] = []

    def time_few(device: LocalDevice, given: TFLiteModel) -> Round:
        timed.append(given.name)
        if len(timed) > 1:
            raise ZeroDivisionError("oops")
        return time_one(device, given)

    monkeypatch.setattr(LocalDevice, "time", time_few)
    asked = ("measure", *SPACE, "--rounds", 1, "--sample", 2, "--out", "t.parquet")
    with pytest.raises(ZeroDivisionError):
        brpnas(*asked)
    assert open_table("t.parquet").metric("n_samples").tolist().count(2) == 1
    monkeypatch.undo()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_measured_and_says_how_to_go_on(
    brpnas: Any, tmp_path: Path, how: signal.Signals
) -> None:
    asked = [str(word) for word in ("measure", *SPACE, "--sample", 4, "--out", "t.parquet")]
    command = [*PROGRAM, *asked, "--rounds", "900"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while _rounds(tmp_path / "t.sqlite") < 10:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(how)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted before the end; what was measured is in t.sqlite; to continue" in said
    assert brpnas.json(*asked, "--rounds", 1, "--resume")["measured"] == 4


def test_a_command_that_measured_nothing_leaves_the_name_free(brpnas: Any, model: str) -> None:
    for name in ("one", "two"):
        Path(f"{name}.tflite").write_text(f"garbage {name}" * 100)
    asked = ("measure", *FEW, "--out", "t.parquet", "--model")
    said = brpnas.error(*asked, "one.tflite", "--model", "two.tflite")
    assert "none of 2 models" in said
    assert "'one.tflite' is no TFLite file" in said
    assert "'two.tflite' is no TFLite file" in said
    assert brpnas.json(*asked, model)["measured"] == 1


def test_another_phone_does_not_replace_the_table(
    brpnas: Any, phone: EmulatedPhone, model: str
) -> None:
    phone_asked = ("--device", "mine.toml", "--address", phone.address)
    asked = ("measure", "--model", model, *FEW, "--out", "t.parquet")
    brpnas(*asked)
    before = Path("t.parquet").read_bytes()
    said = brpnas.error(*asked, *phone_asked, "--resume")
    assert "t.parquet was not measured on device" in said
    assert Path("t.parquet").read_bytes() == before


def test_a_search_that_measures(brpnas: Any) -> None:
    limit = ("--device", "local", "--rounds", 1, "--latency-limit", 1000)  # on any machine
    few = ("--strategy", "random", "--budget", 5)
    result = brpnas.json("search", *limit, *few, "--out", "run")
    assert 0 < result["best"]["latency_ms"] <= 1000
    assert Path("run/measurements.sqlite").exists()
    again = brpnas.json("search", *limit, *few, "--out", "run", "--resume")
    assert again["best"] == result["best"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--all",), "either --space or --model"),
        (("--space", "nasbench202", "--all"), "unknown space 'nasbench202'"),
        (("--model", "none.tflite"), "cannot read none.tflite"),
        (("--model", "a.onnx"), "unknown kind"),
        ((*ALL, "--device", "pixel44"), "pixel44"),
        ((*ALL, "--delegate", "gpu"), "gpu"),
        ((*ALL, "--precision", "int4"), "unknown precision 'int4'"),
        ((*ALL, "--converter", "x"), "unknown converter 'x'"),
        ((*ALL, "--executor", "x"), "unknown executor 'x'"),
        (("--model", "a.tflite", "--channels", "8"), "--channels goes with --space"),
        (("--model", "a.tflite", "--cells-per-stage", "5"), "--cells-per-stage goes with --space"),
        (("--model", "a.tflite", "--input-size", "32"), "--input-size goes with --space"),
        (
            ("--model", "a.tflite", "--model", "a.pt2", "--converter", "auto"),
            "--converter goes with --space and --model package.module:function",
        ),
        ((*ALL, "--seed", "3"), "--seed goes with --sample and --suggest"),
        (
            (*ALL, "--executor", "inline", "--jobs", "2"),
            "--jobs goes with --executor processes and",
        ),
        ((*ALL, "--ray-address", "auto"), "--ray-address goes with --executor ray"),
        ((*ALL, "--exclude", "*"), "--exclude goes with --suggest"),
        ((*ALL, "--suggest", "5"), "goes with measuring; --suggest only prints"),
    ],
)
def test_bad_options(brpnas: Any, arguments: tuple[str, ...], message: str) -> None:
    Path("t.sqlite").touch()  # said before what is there
    assert message in brpnas.error("measure", *arguments, "--out", "t.parquet")
    assert not Path("t.parquet").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--timeout", value) for value in ("nan", "inf", "0", "-1")),
        *(("--rounds", value) for value in ("0", "1001")),
        ("--runs", "0"),
        ("--warmup", "-1"),
        ("--threads", "999999"),
        ("--channels", "99999999"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(brpnas: Any, option: str, value: str) -> None:
    said = brpnas("measure", *SPACE, "--sample", 1, option, value, "--out", "t.parquet", code=2)
    assert f"'{option}'" in said.stderr
    assert not Path("t.sqlite").exists()
