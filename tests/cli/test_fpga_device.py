"""``brpnas measure`` and ``brpnas search`` with ``--device fpga:PLATFORM``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brpnas.datasets import open_table
from brpnas.devices.fpga.device import open_fpga
from brpnas.devices.fpga.sources import SpaceNetwork
from brpnas.spaces import NASBench201, NetworkShape

SMALL = ("--channels", 4, "--cells-per-stage", 1, "--input-size", 8)
MEASURE = ("measure", "--space", "nasbench201", *SMALL, "--executor", "inline")
SPACE = NASBench201()
SHAPE = NetworkShape(channels=4, cells_per_stage=1, input_size=8)
CELLS = [
    "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
]


def _latency_ms(arch: str, shape: NetworkShape) -> float:
    cell = str(SPACE.deployed(SPACE.parse(arch)))
    return open_fpga("fpga:zc706").map(SpaceNetwork(SPACE, cell, shape)()).seconds * 1000


def test_cells_are_mapped_and_more_are_added(brpnas: Any) -> None:
    for name, cell in zip("ab", CELLS, strict=True):
        Path(f"{name}.txt").write_text(cell)
    asked = (*MEASURE, "--device", "fpga:zc706", "--out", "t.parquet")
    result = brpnas.json(*asked, "--archs", "a.txt")
    assert (result["measured"], result["failed"]) == (1, 0)
    assert result["device"]["name"] == "fpga:zc706"
    more = brpnas.json(*asked, "--archs", "b.txt", "--resume")
    assert (more["measured"], more["earlier"]) == (2, 1)
    table = open_table("t.parquet")
    assert sorted(table.archs) == sorted(CELLS)
    wanted = [_latency_ms(cell, SHAPE) for cell in table.archs]
    assert table.metric("latency_ms") == pytest.approx(wanted, abs=1e-6)
    assert set(table.metrics) == {
        *("latency_ms", "partitions", "interval_cycles", "dsp", "bram", "lut", "ff"),
        "model_sha256",
    }
    assert "--device fpga:zc706" in table.card.rebuild


def test_models_and_one_that_does_not_fit(brpnas: Any, shared: Path) -> None:
    Path("wide_net_of_this_test.py").write_text(
        "import torch\n"
        "def make():\n"
        "    return torch.nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 3, 1_000_000, device='meta')\n"
    )
    lenet = str(shared / "fpga" / "nets" / "lenet.onnx")
    named = ("--model", lenet, "--model", "wide_net_of_this_test:make")
    done = brpnas("measure", *named, "--device", "fpga:zedboard", "--out", "t.csv", "--json",
                  "--executor", "inline")  # fmt: skip
    assert json.loads(done.stdout)["failed"] == 1
    table = open_table("t.csv")
    assert table.archs == [lenet, "wide_net_of_this_test:make"]
    assert table.metric("latency_ms")[0] > 0
    assert "does not fit on zedboard" in table.frame["error"][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "fpga:zc707"), "unknown platform 'zc707'. Did you mean 'zc706'"),
        (("--device", "fpga"), "accepted: fpga:PLATFORM"),
        (("--rounds", 3), "--rounds goes with devices that are timed; fpga:zc706 is computed"),
        (("--precision", "int8"), "--precision goes with devices that are timed"),
        (("--nodes-equal",), "--nodes-equal goes with devices that are timed"),
        (("--model", "a.tflite"), "--space and --model exclude each other"),
    ],
)
def test_bad_input(brpnas: Any, options: tuple[object, ...], message: str) -> None:
    said = brpnas.error(*MEASURE, "--device", "fpga:zc706", "--sample", 1, "--out", "t.parquet",
                        *options)  # fmt: skip
    assert message in said
    assert list(Path().iterdir()) == []


def test_a_search_maps_what_it_tries(brpnas: Any, write: Callable[..., Path]) -> None:
    write(pd.DataFrame({"arch": CELLS, "accuracy_pct": [60.0, 70.0]}))
    asked = ("search", "--table", "t.parquet", "--accuracy", "accuracy_pct", "--out", "run")
    limit = ("--device", "fpga:zc706", "--latency-limit", 100, "--jobs", 1)
    how = ("--strategy", "random", "--budget", 2)
    best = brpnas.json(*asked, *limit, *how)["best"]
    wanted = {cell: _latency_ms(cell, SPACE.shape) for cell in CELLS}
    assert best["arch"] == CELLS[1]
    assert best["latency_ms"] == pytest.approx(wanted[CELLS[1]])
    rows = pd.read_parquet("run/trace.parquet")
    assert dict(zip(rows["arch"], rows["latency_ms"], strict=True)) == pytest.approx(wanted)
    record = json.loads(Path("run/run.json").read_text())
    assert record["arguments"]["device"]["device"]["name"] == "fpga:zc706"
    assert brpnas.json(*asked, *limit, *how, "--resume")["best"] == best
    said = brpnas.error(*asked, *limit, *how, "--resume", "--rounds", 2)
    assert "--rounds goes with devices that are timed" in said
