"""What the tests let executors do. Workers import it, so it lives in a module of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import operator
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brpnas.executors import Executor, Handle


def published(values: Handle[list[int]], place: int) -> int:
    return values.get()[place]


def get(value: Handle[Any]) -> Any:
    return value.get()


def flaky(folder: Path, item: int) -> int:
    """Fail on the first attempt at an odd item: 1 raises, 3 kills the process, 5 exits."""
    attempt = folder / str(item)
    if item % 2 and not attempt.exists():
        attempt.touch()
        if item == 1:
            raise ValueError("not yet")
        os.kill(os.getpid(), signal.SIGKILL) if item == 3 else os._exit(7)
    return item * 10


def hold_semaphore(seconds: float) -> None:
    """Keep a semaphore, as tqdm does, for as long as this process lives."""
    globals()["held"] = multiprocessing.RLock()
    time.sleep(seconds)


def die_on_two(item: int) -> int:
    if item == 2:
        os._exit(7)
    return item


def lose_node_once(folder: Path, item: int) -> int:
    """Kill what has started this worker, when item 1 is tried first."""
    attempt = folder / str(item)
    if item == 1 and not attempt.exists():
        attempt.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return item


def slow_first(item: int) -> int:
    time.sleep(4 if item == 0 else 0)
    return item


def threads(_: int) -> tuple[str, bool]:
    return os.environ["OMP_NUM_THREADS"], "torch" in sys.modules


def count(folder: Path, item: object) -> None:
    with (folder / "calls").open("a") as file:
        file.write("x")
    raise ValueError(f"{item}\nfails")


def lock(_: int) -> object:
    return threading.Lock()  # cannot be pickled


def sleep_in(folder: Path, seconds: int) -> None:
    if seconds:
        (folder / str(os.getpid())).touch()
        time.sleep(seconds)


class Closed:
    """Can be sent, but not be read."""

    def __reduce__(self) -> tuple[object, tuple[int, int]]:
        return operator.truediv, (1, 0)


def closed(_: int) -> Closed:
    return Closed()


def same(item: object) -> object:
    return item


class Watched(Sequence[int]):
    """Numbers from 0 that know which of them were asked for."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.asked: set[int] = set()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> int:  # type: ignore[override]
        if place >= self.length:
            raise IndexError
        self.asked.add(place)
        return place


def gone(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def worker_pid(executor: Executor) -> int:
    (outcome,) = executor.run(operator.call, [os.getpid])
    assert outcome.value is not None
    return outcome.value
