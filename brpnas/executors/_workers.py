"""What executors with workers elsewhere share: retries, and what goes over the wire."""

from __future__ import annotations

import pickle
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from brpnas.errors import UserError
from brpnas.executors.executor import Executor, Outcome, attempt, describe

__all__ = ["ONE_THREAD", "Workers", "answer", "kept", "pickled", "read"]

T = TypeVar("T")
R = TypeVar("R")
Task = TypeVar("Task", bound=Hashable)

Dumps = Callable[[Any], bytes]

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""Environment of a worker. The variables have to be there before it imports numpy or torch."""


class Workers(Executor, Generic[Task]):
    """Runs items elsewhere, several at a time. Subclasses say how one is started and awaited.

    Args:
        retries: how often an item that failed is tried again.
        dumps: pickles a function with its item.
    """

    def __init__(self, retries: int, dumps: Dumps = pickle.dumps) -> None:
        self._retries = retries
        self._dumps = dumps

    @abstractmethod
    def _limit(self) -> int:
        """Return how many items may be under way at a time."""

    @abstractmethod
    def _start(self, work: bytes) -> Task:
        """Start a pickled function and item, which a worker ``answer``s."""

    @abstractmethod
    def _finished(self, tasks: Collection[Task]) -> list[tuple[Task, Outcome[Any]]]:
        """Wait until one or more of these are done; return them."""

    @abstractmethod
    def _abandon(self, tasks: Collection[Task]) -> None:
        """End these, whose outcomes nobody wants any more."""

    def as_completed(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, Outcome[R]]]:
        """Yield the place and the outcome of each item; one that cannot be pickled fails."""
        waiting = deque(range(len(items)))
        attempts = [0] * len(items)
        busy: dict[Task, int] = {}
        limit = self._limit()
        try:
            while waiting or busy:
                while waiting and len(busy) < limit:
                    place = waiting.popleft()
                    try:
                        work = self._dumps((function, items[place]))
                    except Exception as error:  # noqa: BLE001 - whatever pickling may raise
                        yield place, Outcome(error=describe(error))
                    else:
                        busy[self._start(work)] = place
                done: list[tuple[int, Outcome[R]]] = []
                for task, outcome in self._finished(busy) if busy else ():
                    place = busy.pop(task)
                    attempts[place] += 1
                    if outcome.error is not None and attempts[place] <= self._retries:
                        waiting.appendleft(place)
                    else:
                        done.append((place, outcome))
                yield from done  # not before all have left `busy`: the caller may stop here
        finally:
            # Only an interrupt, or a caller that stops early, leaves tasks.
            if busy:
                self._abandon(busy)


def pickled(value: object, dumps: Dumps = pickle.dumps) -> bytes:
    """Return a value in the form in which it can be published.

    Raises:
        UserError: it has none.
    """
    try:
        return dumps(value)
    except Exception as error:
        raise UserError(f"this cannot be sent to other processes: {describe(error)}") from error


_last: dict[str, Any] = {}


def kept(key: str, make: Callable[[], T]) -> T:
    """Return what was made for a key in this process; the last one only."""
    if key not in _last:
        _last.clear()
        _last[key] = make()
    value: T = _last[key]
    return value


def answer(work: bytes, dumps: Dumps = pickle.dumps) -> bytes:
    """Do a piece of work in the worker; return the pickled outcome."""
    try:
        function, item = pickle.loads(work)  # noqa: S301 - our own caller's
    except Exception as error:  # noqa: BLE001 - whatever unpickling may raise
        return dumps(Outcome(error=describe(error)))
    outcome = attempt(function, item)
    try:
        return dumps(outcome)
    except Exception as error:  # noqa: BLE001 - whatever pickling may raise
        return dumps(Outcome(error=describe(error)))


def read(answered: bytes) -> Outcome[Any]:
    """Return the outcome of an answer."""
    try:
        outcome: Outcome[Any] = pickle.loads(answered)  # noqa: S301 - our own worker's
    except Exception as error:  # noqa: BLE001 - whatever unpickling the value may raise
        return Outcome(error=describe(error))
    return outcome
