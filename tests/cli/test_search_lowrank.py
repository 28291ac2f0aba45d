"""``brpnas search --space lowrank``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from brpnas.models import BUILTIN
from brpnas.run import Run

SPACE = ("search", "--space", "lowrank")
SMALL = ("--images", 64, "--budget", 6)
KEPT = ("--keep", 2)
QUICK = (*SPACE, "--cost", "macs", *SMALL)
RUN = (*QUICK, "--strategy", "knapsack", "--out", "run")


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 images with labels, to test on in little time."""
    path = tmp_path_factory.mktemp("tests") / "test.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.integers(0, 256, (50, 8, 8, 1), np.uint8), y=rng.integers(0, 10, 50))
    return path


def test_json_has_the_front_with_recipes_that_compress(brpnas: Any, tests: Path) -> None:
    said = brpnas.json(*RUN, *KEPT, "--test", tests, "--labels", "calibration")
    assert {"baseline", "front", "left", "evaluations", "surveyed", "wall_s", "run"} == set(said)
    assert said["left"] == []
    assert said["baseline"]["macs"] == 2_378_368
    assert said["baseline"]["params"] == 93_546
    assert said["run"] == "run"
    assert (said["evaluations"], said["surveyed"]) == (6, 0)
    assert [row["recipe"] for row in said["front"]] == ["run/front/00.json", "run/front/01.json"]
    rows = pd.read_parquet("run/trace.parquet")
    assert set(rows) >= {"fidelity", "agreement_pct", "log_likelihood", "macs", "params"}
    for row in said["front"]:
        found = rows.loc[row["step"]]
        assert row["macs"] == found["macs"]
        assert row["macs_reduction_pct"] == pytest.approx(100 - 100 * row["macs"] / 2_378_368)
        assert row["accuracy_pct"] % 2 == 0  # of 50 images
    built = brpnas.json(
        "compress", "--recipe", "run/front/01.json", "--model", "digits-cnn", "--out", "built"
    )
    assert built["macs"] == [2_378_368, said["front"][1]["macs"]]
    record = json.loads(Path("run/run.json").read_text())
    assert record["result"]["front"] == said["front"]
    assert record["arguments"]["model"] == "digits-cnn"
    assert "--strategy knapsack" in record["arguments"]["command"]


def test_table_shows_the_network_as_it_is_and_the_front(brpnas: Any, tests: Path) -> None:
    done = brpnas(*QUICK, *KEPT, "--strategy", "random", "--out", "run", "--test", tests)
    assert "digits-cnn: 2 versions of the front, 6 evaluated, in" in done.stdout
    assert "as it is" in done.stdout
    assert re.search("│ 01 +│", done.stdout)
    assert "recipes: run/front/VERSION.json" in done.stderr
    assert "report: run/report.html" in done.stderr


def test_target_has_one_answer(brpnas: Any, tests: Path) -> None:
    (row,) = brpnas.json(*RUN, "--target", 0.5, "--test", tests)["front"]
    assert 46 < 100 - row["macs_reduction_pct"] <= 50


def test_resumed_after_a_kill_gives_the_undisturbed_trace(brpnas: Any, tests: Path) -> None:
    learning = ("--strategy", "brp", "--predictor", "gp", "--iterations", 2, "--budget", 16)
    arguments = (*QUICK, *learning, "--test", tests)
    whole = brpnas.json(*arguments, "--out", "whole")
    shutil.copytree("whole", "killed")
    rows = pq.read_table("killed/trace.parquet")
    assert len(rows) == 16
    pq.write_table(rows.slice(0, 10), "killed/trace.parquet")  # what a kill leaves
    record = json.loads(Path("killed/run.json").read_text())
    Path("killed/run.json").write_text(json.dumps({**record, "finished": None, "result": None}))
    kept = Path("killed/front/00.safetensors").stat().st_mtime_ns
    for path in Path("killed/front").glob("01.*"):
        path.unlink()
    resumed = brpnas.json(*arguments, "--out", "killed", "--resume")
    pd.testing.assert_frame_equal(pd.read_parquet("killed/trace.parquet"), rows.to_pandas())
    assert Path("killed/front/00.safetensors").stat().st_mtime_ns == kept  # not finished again
    for one, other in zip(whole["front"], resumed["front"], strict=True):
        assert {**one, "recipe": ""} == {**other, "recipe": ""}
        for kind in (".json", ".safetensors"):
            found, again = (Path(row["recipe"]).with_suffix(kind) for row in (one, other))
            assert found.read_bytes() == again.read_bytes()
    error = brpnas.error(*arguments, "--out", "killed", "--resume", "--seed", 1)
    assert "seed" in error


def test_workers_give_the_same_trace(brpnas: Any, tests: Path) -> None:
    learning = ("--strategy", "brp", "--predictor", "gp", "--iterations", 1, "--budget", 12)
    for out, jobs in (("alone", ()), ("spread", ("--jobs", 2))):
        brpnas.json(*QUICK, *learning, "--test", tests, *jobs, "--out", out)
    alone, spread = (pd.read_parquet(f"{out}/trace.parquet") for out in ("alone", "spread"))
    pd.testing.assert_frame_equal(alone, spread, check_exact=True)


def test_a_few_images_are_enough(brpnas: Any, tests: Path) -> None:
    few = ("--images", 16, "--budget", 4, "--strategy", "knapsack", "--cost", "macs")
    said = brpnas.json(*SPACE, *few, *KEPT, "--test", tests, "--out", "run")
    assert len(said["front"]) == 2


GROUPED = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(128, 10)
    return nn.Sequential(*layers)
"""


def test_layers_that_stay_are_named_with_the_reason(brpnas: Any, tests: Path) -> None:
    Path("grouped_network.py").write_text(GROUPED)
    own = ("--model", "grouped_network:network", "--calibration", tests)
    few = ("--cost", "macs", "--strategy", "knapsack", "--images", 32, "--budget", 3)
    asked = (*SPACE, *own, "--normalisation", "0.5/0.25", *few)
    said = brpnas.json(*asked, "--out", "run")
    (left,) = said["left"]
    assert left["layer"] == "1"
    assert left["reason"].startswith("a grouped")
    page = Path("run/report.html").read_text()
    assert f"<code>1</code>: {left['reason']}" in page
    again = brpnas(*asked, "--out", "other")
    assert f"layer '1' stays as it is: {left['reason']}" in again.stderr


def test_latency_of_an_fpga(brpnas: Any, tests: Path) -> None:
    options = ("--device", "fpga:zc706", "--strategy", "knapsack", "--predictor", "gp")
    said = brpnas.json(*SPACE, *SMALL, *options, "--out", "run", "--test", tests)
    rows = pd.read_parquet("run/trace.parquet")
    assert rows["latency_ms"].notna().all()
    computed = Path("run/computed.jsonl").read_text().split("\n")[1:]
    assert len(computed) == 1 + said["surveyed"] + said["evaluations"]
    assert said["surveyed"] == 40 + 4 * said["evaluations"]
    for row in said["front"]:
        assert row["latency_ms"] == rows["latency_ms"][row["step"]]
        assert row["latency_ms"] <= 0.9 * said["baseline"]["latency_ms"]


REFUSED = [
    (("--strategy", "local"), "unknown strategy 'local'"),
    (("--cost", "watts"), "unknown cost 'watts'"),
    (("--repair", "glue"), "unknown repair 'glue'"),
    (("--labels", "all"), "unknown use of labels 'all'"),
    (("--weights-by", "magic"), "unknown way to find low-rank weights 'magic'"),
    (("--predictor", "oracle"), "unknown predictor 'oracle'"),
    (("--target", 1.5), "--target 1.5: accepted is a share"),
    (("--target", 0.5, "--keep", 3), "--keep goes with searches for a whole front"),
    (
        ("--images", 16, "--repair", "lsq"),
        "repair 'lsq': 11 calibration images to repair with: it needs 32",
    ),
    (
        ("--model", "normless:make", "--calibration", "own.npz", "--repair", "bn"),
        "repair 'bn': the network has no batch norm",
    ),
    (("--model", "nothing"), "unknown model 'nothing'"),
    (("--model", "resnet20-cifar"), "--model resnet20-cifar needs --weights"),
    (("--weights", "w.safetensors"), "--weights needs --model"),
    (("--model", "digits-cnn", "--weights", "other.safetensors"), "other.safetensors"),
    (("--model", "digits-cnn", "--weights", "holed.safetensors"), "NaN or infinity in linear"),
    (("--calibration", "wide.npz"), "wide.npz: images of shape (8, 9, 1), but digits-cnn takes"),
    (("--calibration", "bright.npz"), "bright.npz: values from 0 to 300; accepted are"),
    (("--calibration", "own.npz", "--labels", "calibration"), "own.npz has no labels"),
    (("--test", "own.npz"), "own.npz: test images need labels"),
    (("--device", "nowhere"), "nowhere"),
    (("--device", "fpga:nowhere"), "nowhere"),
    (("--device", "fpga:zc706", "--rounds", 3), "--rounds goes with devices that are timed"),
    (("--serial", "x"), "--serial goes with --device"),
    (("--resume",), "--resume needs --out"),
    (("--executor", "inline", "--jobs", 2), "--jobs goes with --executor processes and ray"),
    (("--ray-address", "auto"), "--ray-address goes with --executor ray"),
    (("--executor", "cloud"), "unknown executor 'cloud'"),
    (("--table", "t.parquet"), "--table goes with another --space"),
    (("--train-on", "own.npz"), "--train-on goes with another --space"),
    (("--precision", "int8"), "--precision goes with another --space"),
]


@pytest.fixture
def files(tmp_path: Path) -> None:
    """Write input that something is wrong with."""
    x = np.zeros((40, 8, 8, 1), np.float32)
    np.savez(tmp_path / "own.npz", x=np.concatenate([x, x]))
    (tmp_path / "normless.py").write_text(
        "from torch import nn\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(288, 10)).eval()\n"
    )
    np.savez(tmp_path / "wide.npz", x=np.zeros((20, 8, 9, 1), np.float32))
    np.savez(tmp_path / "bright.npz", x=np.concatenate([x, x + 300]))
    own = BUILTIN["digits-cnn"].weights
    assert own is not None
    state = load_file(own)
    state["linear.weight"][0, 0] = float("nan")
    save_file(state, tmp_path / "holed.safetensors")
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "other.safetensors")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_bad_input_is_one_line_and_leaves_nothing(
    brpnas: Any, options: tuple[Any, ...], said: str
) -> None:
    out = () if options == ("--resume",) else ("--out", "out")
    cost = () if {"--cost", "--device"} & set(options) else ("--cost", "macs")
    assert said in brpnas.error(*SPACE, *SMALL, *cost, *out, *options)
    assert not Path("out").exists()
    assert not Path("runs").exists()


def test_finished_search_is_not_prepared_again(
    brpnas: Any, tests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (*RUN, *KEPT, "--test", tests)
    first = brpnas.json(*asked)
    page = Path("run/report.html")
    page.unlink()
    again = (*asked, "--resume")
    with monkeypatch.context() as patch:
        patch.setattr("brpnas.compressing.subject.prepare", lambda *_, **__: pytest.fail("again"))
        assert brpnas.json(*again) == first
        assert page.exists()
        said = brpnas(*again)
        assert "2 versions of the front" in said.stdout
        assert said.stderr.endswith("report: run/report.html\n")
        assert "seed was 0, now 1" in brpnas.error(*again, "--seed", 1)
        assert "calibration_sha256 was" in brpnas.error(*again, "--images", 65)
    Path(first["front"][1]["recipe"]).unlink()
    assert brpnas.json(*again) == first  # what is missing is made again
    assert Path(first["front"][1]["recipe"]).exists()


def test_target_out_of_reach_says_the_closest_and_leaves_nothing(brpnas: Any) -> None:
    error = brpnas.error(*RUN, "--target", 0.001)
    assert "--target 0.001 cannot be reached: the closest has 0.0" in error
    assert not Path("run").exists()


@pytest.mark.parametrize("option", ["--model", "--calibration", "--target", "--repair", "--keep"])
def test_other_spaces_refuse_the_options_of_this_one(brpnas: Any, option: str) -> None:
    value = {"--target": 0.5, "--keep": 3}.get(option, "x")
    assert f"{option} goes with --space lowrank" in brpnas.error("search", option, value)


def test_folder_in_use_is_refused(brpnas: Any, tests: Path) -> None:
    with Run("run", {}, seed=0):
        assert "folder run holds a run already" in brpnas.error(*RUN, "--test", tests)
        error = brpnas.error(*RUN, "--test", tests, "--resume")
    assert "run folder run is in use by process" in error
    Path("other").mkdir()
    Path("other", "mine.txt").write_text("mine")
    error = brpnas.error(*RUN[:-1], "other", "--test", tests)
    assert "folder other is not empty and holds no run" in error
