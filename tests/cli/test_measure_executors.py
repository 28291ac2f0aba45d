"""``brpnas measure`` with workers elsewhere, which the other tests do without."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from brpnas.datasets import open_table
from brpnas.devices import LocalDevice
from brpnas.devices.tflite import sources

CELLS = ("--space", "nasbench201", "--cells-per-stage", 1, "--channels", 4, "--input-size", 8)
ASKED = ("measure", *CELLS, "--rounds", 2, "--runs", 2, "--warmup", 1, "--out", "t.parquet")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This machine may be measured on outside of the tests: they lend their own.
    monkeypatch.setenv("RAY_TMPDIR", tempfile.gettempdir())  # the names of its sockets are short
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(params=["processes", "ray"])
def executor(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "ray":
        pytest.importorskip("ray")
    return name


def _fail(*_: object) -> None:
    raise AssertionError("this is for workers to do")


def test_workers_convert(brpnas: Any, executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "convert", _fail)
    result = brpnas.json(*ASKED, "--sample", 3, "--executor", executor, "--jobs", 1)
    assert (result["measured"], result["failed"]) == (3, 0)
    assert result["convert_s"] > 0


def test_workers_convert_and_measure(
    brpnas: Any, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalDevice, "time", _fail)
    asked = (*ASKED, "--sample", 3, "--executor", executor, "--jobs", 1, "--nodes-equal")
    result = brpnas.json(*asked)
    assert (result["measured"], result["failed"]) == (3, 0)
    table = open_table("t.parquet")
    assert table.metric("latency_ms").min() > 0
    assert table.metric("n_samples").tolist() == [4] * 3
