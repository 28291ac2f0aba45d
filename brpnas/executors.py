"""Where independent evaluations run: in this process or in several."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Self, TypeVar

__all__ = ["Executor", "InProcess", "Outcome", "Processes"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one item.

    Attributes:
        value: what the function returned; None if it failed.
        error: why it failed, after all retries, as one line; None if it did not.
    """

    value: R | None = None
    error: str | None = None


class Executor(ABC):
    """Applies a function to items that do not depend on each other; a context manager."""

    @abstractmethod
    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[Outcome[R]]:
        """Yield what becomes of each item, in order, each as soon as it and those before are known.

        An item that fails is tried again, then yields an error; it does not disturb the others.
        """

    def close(self) -> None:  # noqa: B027 - most executors hold nothing
        """Release what the executor holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InProcess(Executor):
    """One item after the other, here.

    Args:
        retries: how often an item that failed is tried again.
    """

    def __init__(self, retries: int = 1) -> None:
        self._retries = retries

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[Outcome[R]]:
        """Yield what becomes of each item, in order."""
        for item in items:
            for _ in range(self._retries + 1):
                outcome = _attempt(function, item)
                if outcome.error is None:
                    break
            yield outcome


class Processes(Executor):
    """Several items at a time, each worker a process of its own with one computing thread.

    Workers start when they are first needed and stay until ``close``. A worker that dies (a
    crash in native code, the system's memory killer) fails its own item only, and is replaced.
    If the caller is interrupted, busy workers are killed; if it is killed, they end themselves.

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
        self._count = workers
        self._retries = retries
        self._idle: list[_Worker] = []

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[Outcome[R]]:
        """Yield what becomes of each item, in order."""
        waiting = deque(range(len(items)))
        attempts = [0] * len(items)
        done: dict[int, Outcome[R]] = {}
        busy: dict[_Worker, int] = {}
        try:
            for place in range(len(items)):
                while place not in done:
                    while waiting and len(busy) < self._count:
                        worker = self._idle.pop() if self._idle else _Worker()
                        busy[worker] = waiting.popleft()
                        with contextlib.suppress(OSError):  # it died meanwhile: seen by `wait`
                            worker.connection.send((function, items[busy[worker]]))
                    ready = wait([worker.connection for worker in busy])
                    for worker in [worker for worker in busy if worker.connection in ready]:
                        finished = busy.pop(worker)
                        outcome = self._receive(worker)
                        attempts[finished] += 1
                        if outcome.error is not None and attempts[finished] <= self._retries:
                            waiting.appendleft(finished)
                        else:
                            done[finished] = outcome
                yield done.pop(place)
        finally:
            # Only an interrupt, or a caller that stops early, leaves workers busy.
            for worker in busy:
                worker.kill()

    def close(self) -> None:
        """End the workers."""
        while self._idle:
            self._idle.pop().kill()

    def _receive(self, worker: _Worker) -> Outcome[Any]:
        try:
            outcome: Outcome[Any] = worker.connection.recv()
        except (EOFError, OSError):
            return Outcome(error=f"worker process died ({worker.kill()})")
        except Exception as error:  # noqa: BLE001 - whatever unpickling the value may raise
            outcome = Outcome(error=_describe(error))
        self._idle.append(worker)
        return outcome


class _Worker:
    """A process that answers (function, item) with an Outcome, until its pipe closes."""

    def __init__(self) -> None:
        # Not fork: torch's threads do not survive it. Not forkserver: it keeps the environment
        # that it once started with.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()

    def kill(self) -> str:
        self.process.kill()
        self.process.join()
        self.connection.close()
        return f"exit code {self.process.exitcode}"


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start meanwhile compute with one thread.

    The variables have to be there before a worker imports numpy or torch, which may happen
    before any code of ours runs in it, so they are inherited.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(connection: Connection[Outcome[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            try:
                function, item = connection.recv()
            except (EOFError, OSError):
                return
            except Exception as error:  # noqa: BLE001 - whatever unpickling may raise
                connection.send(Outcome(error=_describe(error)))
                continue
            outcome = _attempt(function, item)
            try:
                connection.send(outcome)
            except (EOFError, OSError):
                return
            except Exception as error:  # noqa: BLE001 - whatever pickling may raise
                connection.send(Outcome(error=_describe(error)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _attempt(function: Callable[[T], R], item: T) -> Outcome[R]:
    try:
        return Outcome(value=function(item))
    except Exception as error:  # noqa: BLE001 - an item's failure is an outcome
        return Outcome(error=_describe(error))


def _describe(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
