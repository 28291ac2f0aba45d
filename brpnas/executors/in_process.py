"""An executor that needs nothing: one item after the other, here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from brpnas.executors.executor import Executor, Outcome, attempt

__all__ = ["InProcess"]

T = TypeVar("T")
R = TypeVar("R")


class InProcess(Executor):
    """One item after the other, here.

    Args:
        retries: how often an item that failed is tried again.
    """

    def __init__(self, retries: int = 1) -> None:
        self._retries = retries

    def as_completed(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, Outcome[R]]]:
        """Yield the place and the outcome of each item, in order."""
        for place, item in enumerate(items):
            for _ in range(self._retries + 1):
                outcome = attempt(function, item)
                if outcome.error is None:
                    break
            yield place, outcome
