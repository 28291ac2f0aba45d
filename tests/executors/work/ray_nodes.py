"""A cluster of Ray of several nodes, all on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
    """A head that runs nothing, and two nodes of one core."""
    from ray.cluster_utils import Cluster

    # Nodes find what workers import by the environment that they are started with.
    with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            for _ in range(2):
                made.add_node(num_cpus=1)
            yield made
        finally:
            with contextlib.suppress(Exception):  # a node is gone already
                made.shutdown()


def kill_a_busy_worker(when: Callable[[], bool], seconds: float = 120) -> bool:
    """Wait until so, then kill -9 the first worker of Ray on this machine that works."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*") if when() else ():
            with contextlib.suppress(OSError):  # it ends meanwhile
                if (process / "cmdline").read_bytes().startswith(b"ray::_answer"):
                    os.kill(int(process.name), signal.SIGKILL)
                    return True
        time.sleep(0.005)
    return False
