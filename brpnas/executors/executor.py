"""The nouns of running: Executor and Outcome."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

__all__ = ["Executor", "Outcome", "attempt", "describe"]

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


def attempt(function: Callable[[T], R], item: T) -> Outcome[R]:
    """Apply the function once; an exception is an outcome."""
    try:
        return Outcome(value=function(item))
    except Exception as error:  # noqa: BLE001 - an item's failure is an outcome
        return Outcome(error=describe(error))


def describe(error: Exception) -> str:
    """Return the kind of an exception and what it says, as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
