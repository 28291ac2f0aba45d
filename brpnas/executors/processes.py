"""An executor with worker processes on this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from brpnas.errors import UserError
from brpnas.executors._workers import ONE_THREAD, Workers, answer, kept, pickled, read
from brpnas.executors.executor import Handle, Outcome

__all__ = ["Processes", "usable_cores"]

T = TypeVar("T")

_GRACE_S = 2.0


def usable_cores() -> int:
    """Return how many cores this process may use: a container or a batch system may give it fewer.

    Returns:
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class _File(Handle[T]):
    """A value in a file of this user's alone."""

    path: Path

    def get(self) -> T:
        def load() -> T:
            value: T = pickle.loads(self.path.read_bytes())  # noqa: S301 - our own caller's
            return value

        return kept(str(self.path), load)


class _Worker:
    """A process that answers work until its pipe closes."""

    def __init__(self) -> None:
        # Not fork: torch's threads do not survive it. Not forkserver: it keeps the environment
        # that it once started with.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()

    def kill(self) -> str:
        self.process.kill()
        self.process.join()
        self.connection.close()
        return f"exit code {self.process.exitcode}"


class Processes(Workers[_Worker]):
    """Several items at a time, each worker a process of its own with one computing thread.

    Workers start when they are first needed and stay until ``close``. A worker that dies (a
    crash in native code, the system's memory killer) fails its own item only, and is replaced.
    If the caller is interrupted, busy workers are ended; if it is killed, they end themselves.

    The function, the items and the values have to be picklable; the function is imported in the
    worker, so it lives in a module. Workers cannot start processes themselves.

    Args:
        workers: how many processes.
        retries: how often an item that failed is tried again.

    Raises:
        ValueError: fewer than one worker.
    """

    def __init__(self, workers: int, retries: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        super().__init__(retries)
        self._count = workers
        self._idle: list[_Worker] = []
        self._published: list[tempfile.TemporaryDirectory[str]] = []

    def publish(self, value: T) -> Handle[T]:
        """Write a value to a temporary file, which workers read once.

        Raises:
            UserError: it cannot be pickled, or the file cannot be written.
        """
        content = pickled(value)
        try:
            folder = tempfile.TemporaryDirectory(prefix="brpnas-")
            self._published.append(folder)
            path = Path(folder.name) / "value"
            path.write_bytes(content)
        except OSError as error:
            raise UserError(f"no room for a temporary file: {error}") from error
        return _File(path)

    def close(self) -> None:
        """End the workers, and remove what was published."""
        _end(self._idle)
        self._idle.clear()
        for folder in self._published:
            folder.cleanup()
        self._published.clear()

    def _limit(self) -> int:
        return self._count

    def _start(self, work: bytes) -> _Worker:
        worker = self._idle.pop() if self._idle else _Worker()
        with contextlib.suppress(OSError):  # it died meanwhile: seen by `wait`
            worker.connection.send_bytes(work)
        return worker

    def _finished(self, tasks: Collection[_Worker]) -> list[tuple[_Worker, Outcome[Any]]]:
        ready = wait([worker.connection for worker in tasks])
        return [(worker, self._receive(worker)) for worker in tasks if worker.connection in ready]

    def _abandon(self, tasks: Collection[_Worker]) -> None:
        _end(tasks)

    def _receive(self, worker: _Worker) -> Outcome[Any]:
        try:
            answered = worker.connection.recv_bytes()
        except (EOFError, OSError):
            return Outcome(error=f"worker process died ({worker.kill()})")
        self._idle.append(worker)
        return read(answered)


def _end(workers: Collection[_Worker]) -> None:
    """End workers; they may clean up before they are killed, or semaphores of theirs would stay."""
    for worker in workers:
        worker.process.terminate()
    given_up = time.monotonic() + _GRACE_S
    for worker in workers:
        worker.process.join(max(0.0, given_up - time.monotonic()))
        worker.kill()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start meanwhile inherit the environment of a worker.

    They may import numpy or torch before any code of ours runs in them.
    """
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection[bytes, bytes]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the caller closed the pipe, or is gone
        while True:
            connection.send_bytes(answer(connection.recv_bytes()))


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
