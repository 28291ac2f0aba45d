"""Long commands on a cluster of Ray with two workers, one of which is killed in the middle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ray_nodes import kill_a_busy_worker, two_nodes

pytestmark = pytest.mark.slow

TRAIN = (
    *("search", "--train-on", "images.npz", "--test-on", "images.npz", "--epochs", 2),
    *("--channels", 2, "--crop", 0, "--no-flip", "--strategy", "evolution", "--budget", 12),
)
COMPRESS = (
    *("search", "--space", "lowrank", "--cost", "macs", "--strategy", "brp", "--predictor", "gp"),
    *("--iterations", 2, "--budget", 48, "--keep", 2, "--test", "images.npz"),
)
MAP = ("measure", "--space", "nasbench201", "--sample", 24, "--device", "fpga:zc706")
JOBS = {
    "training": (TRAIN, "trace.parquet"),
    "low rank": (COMPRESS, "trace.parquet"),
    "mapping": (MAP, "table.sqlite"),
}


@pytest.fixture(autouse=True)
def _images(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.rint(digits.images[:300] * 255 / 16).astype(np.uint8)[..., None]
    np.savez(tmp_path / "images.npz", x=x, y=digits.target[:300])


@pytest.mark.parametrize("name", JOBS)
def test_a_killed_worker_changes_nothing(brpnas: Any, name: str) -> None:
    pytest.importorskip("ray")
    arguments, begun = JOBS[name]
    for folder in ("here", "there"):
        Path(folder).mkdir()

    def run(folder: str, *options: object) -> Any:
        out = f"{folder}/table.parquet" if name == "mapping" else folder
        said = brpnas.json(*arguments, *options, "--out", out)
        rows = pd.read_parquet(f"{folder}/{'table' if name == 'mapping' else 'trace'}.parquet")
        return said, rows[[column for column in rows if not str(column).endswith("_s")]]

    here, alone = run("here", "--executor", "inline")
    with two_nodes() as cluster, ThreadPoolExecutor(1) as beside:
        killed = beside.submit(kill_a_busy_worker, (Path("there") / begun).exists)
        address = ("--executor", "ray", "--ray-address", cluster.address)
        there, spread = run("there", *address)
        assert killed.result()
    pd.testing.assert_frame_equal(spread, alone, check_exact=True)
    assert here.get("best") == there.get("best")
    assert len(here.get("front", [])) == len(there.get("front", []))
