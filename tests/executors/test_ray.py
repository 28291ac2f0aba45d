from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import executor_work as work
import pytest
from ray_nodes import two_nodes

from brpnas.executors import Outcome, RayCluster


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="brpnas with its extra 'ray'"):
        RayCluster()


def test_impossible_number_of_workers() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RayCluster(0)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("nowhere.invalid:6379", "Name or service not known"),
        ("host:port", "Port could not be cast"),
    ],
)
def test_no_cluster_is_told_soon(address: str, reason: str) -> None:
    pytest.importorskip("ray")
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=f"cannot join Ray at {address}: .*{reason}"):
        RayCluster(address=address)
    assert time.monotonic() - started < 20


def test_a_connection_that_was_there_is_used_and_left(capfd: pytest.CaptureFixture[str]) -> None:
    ray = pytest.importorskip("ray")
    with RayCluster(1):
        with RayCluster() as second:
            assert list(second.run(abs, [-1])) == [Outcome(1)]
        assert ray.is_initialized()
        with pytest.raises(ConnectionError, match="connected to Ray already"):
            RayCluster(address="10.0.0.1:6379")
    assert not ray.is_initialized()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    with two_nodes() as made:
        yield made


@pytest.mark.slow
def test_lost_node_and_a_cluster_that_stays(cluster: Any, tmp_path: Path) -> None:
    for _ in range(2):  # the second time it joins what the first has left
        with RayCluster(address=cluster.address) as executor:
            outcomes = list(executor.run(partial(work.lose_node_once, tmp_path), range(6)))
        assert outcomes == [Outcome(item) for item in range(6)]


@pytest.mark.slow
def test_killed_caller_leaves_no_instance() -> None:
    pytest.importorskip("ray")
    code = (
        "import operator, os\n"
        "from brpnas.executors import RayCluster\n"
        "(outcome,) = RayCluster(1).run(operator.call, [os.getppid])\n"
        "print(outcome.value, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    raylet = int(done.stdout)  # it starts the workers
    work.wait_until(lambda: work.gone(raylet))
