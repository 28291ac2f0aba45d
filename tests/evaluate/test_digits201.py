from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from brpnas.errors import UserError
from brpnas.evaluate import digits201
from brpnas.evaluate.digits201 import build_digits201
from brpnas.executors import InProcess
from brpnas.spaces import NASBench201

_BUILD = """
import sys
from dataclasses import replace
from pathlib import Path
from brpnas.evaluate import digits201
from brpnas.executors import InProcess
digits201.PROTOCOL = replace(digits201.PROTOCOL, epochs=1)
digits201.build_digits201(Path(sys.argv[1]), InProcess(), seeds=2, cells=10)
"""


def results(folder: Path) -> dict[str, int]:
    """When each result was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def test_killed_build_continues_and_gives_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "killed"
    monkeypatch.setattr(digits201, "PROTOCOL", replace(digits201.PROTOCOL, epochs=1))  # fast
    process = subprocess.Popen([sys.executable, "-c", _BUILD, str(folder)])
    try:
        deadline = time.monotonic() + 120
        while len(results(folder)) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = results(folder)
    assert 2 <= len(done) < 10

    calls: list[tuple[int, int]] = []
    continued = build_digits201(
        folder, InProcess(), seeds=2, cells=10, progress=lambda *now: calls.append(now)
    )
    assert calls == [(count, 10) for count in range(1, 11)]
    assert results(folder).items() > done.items()  # what was there was not written again
    undisturbed = build_digits201(tmp_path / "undisturbed", InProcess(), seeds=2, cells=10)
    pd.testing.assert_frame_equal(continued.frame, undisturbed.frame, check_exact=True)
    assert continued.card == undisturbed.card

    frame = undisturbed.frame
    space = NASBench201()
    assert len(frame) == 10
    assert [str(space.canonical(space.parse(arch))) for arch in frame["arch"]] == list(
        frame["arch"]
    )
    for part in ("valid", "test"):
        seeds = frame[[f"{part}_acc_pct_seed{seed}" for seed in range(2)]]
        pd.testing.assert_series_equal(
            frame[f"{part}_acc_pct"], seeds.mean(axis=1), check_names=False
        )
        assert (seeds > 5).all(axis=None)
    assert "2 seeds" in undisturbed.card.conditions
    assert undisturbed.card.rebuild.startswith("brpnas datasets build digits201 --seeds 2 ")


def test_failed_training_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_images() -> None:
        raise ValueError("no images")

    monkeypatch.setattr(digits201, "distorted_digits", no_images)
    with pytest.raises(UserError, match=r"training \|.* failed: ValueError: no images"):
        build_digits201(tmp_path, InProcess(), cells=1)
