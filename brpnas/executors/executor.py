"""The nouns of running: Executor, Outcome and Handle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from brpnas.errors import UserError, one_line

__all__ = ["Executor", "Handle", "Outcome", "attempt", "describe"]

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


class Handle(ABC, Generic[T]):
    """Stands for a large value in functions and items, so that it does not go with each of them."""

    @abstractmethod
    def get(self) -> T:
        """Return the value; in a worker, the same object as long as no other is asked for."""


@dataclass(frozen=True)
class _Here(Handle[T]):
    value: T

    def get(self) -> T:
        return self.value


class Executor(ABC):
    """Applies a function to items that do not depend on each other; a context manager."""

    @abstractmethod
    def as_completed(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, Outcome[R]]]:
        """Yield the place and the outcome of each item, as soon as it is known.

        An item that fails is tried again, then yields an error; it does not disturb the others.
        """

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[Outcome[R]]:
        """Yield the outcome of each item, in order, as soon as it and those before are known."""
        early: dict[int, Outcome[R]] = {}
        place = 0
        for done, outcome in self.as_completed(function, items):
            early[done] = outcome
            while place in early:
                yield early.pop(place)
                place += 1

    def publish(self, value: T) -> Handle[T]:
        """Make a value known to all workers, until ``close``.

        Raises:
            UserError: it cannot be sent to other processes.
        """
        return _Here(value)

    def close(self) -> None:  # noqa: B027 - most executors hold nothing
        """Release what the executor holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def attempt(function: Callable[[T], R], item: T) -> Outcome[R]:
    """Apply the function once; an exception is an outcome."""
    try:
        return Outcome(value=function(item))
    except Exception as error:  # noqa: BLE001 - an item's failure is an outcome
        return Outcome(error=describe(error))


def describe(error: Exception) -> str:
    """Return the kind of an exception and what it says; of a user's error what it says only."""
    return one_line(error if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
