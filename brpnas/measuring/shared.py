"""One executor for the sweeps of several devices, which all want the same models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from brpnas.devices.sweep import models_kept
from brpnas.devices.tflite import TFLiteModel
from brpnas.executors import Executor, Outcome

__all__ = ["SharedExecutor"]

_KEPT = 1024
"""Models that wait on disk: several blocks of a sweep, a few GB of large networks."""


class SharedExecutor(Executor):
    """Makes models for sweeps in several threads, one sweep at a time, each model once.

    Models wait on disk, for those of all devices are too many for the memory. A device that falls
    so far behind the others that its models were removed has them made again.

    Args:
        executor: makes them.
        folder: keeps their content; the caller's to remove.
        stop: once set, making ends with KeyboardInterrupt.

    Raises:
        UserError: from ``run``, the folder cannot be written, as on a full disk.
    """

    def __init__(self, executor: Executor, folder: Path, stop: threading.Event) -> None:
        self._executor = executor
        self._folder = folder
        self._stop = stop
        self._lock = threading.Lock()
        # Without the content; in the order in which they were made.
        self._made: dict[str, Outcome[TFLiteModel]] = {}

    def as_completed(
        self, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Outcome[Any]]]:
        """Yield the model of each source, in order; no other thread waits between two of them."""
        with self._lock:
            self._make(function, [item for item in items if item.key not in self._made])
        for place, item in enumerate(items):
            with self._lock:
                if item.key not in self._made:  # removed meanwhile
                    self._make(function, [item])
                outcome = self._read(item.key)
            yield place, outcome

    def _make(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        for item, outcome in zip(items, self._executor.run(function, items), strict=True):
            if self._stop.is_set():
                raise KeyboardInterrupt
            if outcome.value is not None:
                model: TFLiteModel = outcome.value
                with models_kept(self._folder):
                    (self._folder / item.key).write_bytes(model.content)
                outcome = Outcome(TFLiteModel(model.name, b"", model.maker))
            self._made[item.key] = outcome
            if len(self._made) > _KEPT:
                oldest = next(iter(self._made))
                del self._made[oldest]
                (self._folder / oldest).unlink(missing_ok=True)

    def _read(self, key: str) -> Outcome[TFLiteModel]:
        outcome = self._made[key]
        if outcome.value is None:
            return outcome
        with models_kept(self._folder):
            content = (self._folder / key).read_bytes()
        return Outcome(TFLiteModel(outcome.value.name, content, outcome.value.maker))
