"""Runs models once, as a program of its own: one that crashes or hangs ends only that.

It is started by its path, with the name of the runtime's module, threads, seconds and the number
of a pipe on which models come. It imports no more than the runtime and numpy: torch would take
seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

__all__ = ["fill_inputs", "main"]


def fill_inputs(interpreter: Any) -> None:  # noqa: ANN401 - it comes without types
    """Give every input noise: zeros, or what the memory held, may be faster or slower to add.

    Whole numbers of several bytes are 0 or 1: they may be an index, of as few as two things.
    """
    noise = np.random.default_rng(0)
    for entry in interpreter.get_input_details():
        kind = np.dtype(entry["dtype"])
        if kind.kind in "iu":
            info = np.iinfo(kind)
            low, high = (info.min, info.max) if kind.itemsize == 1 else (0, 1)
            values = noise.integers(low, high, entry["shape"], endpoint=True)
        else:
            values = noise.standard_normal(entry["shape"])
        interpreter.set_tensor(entry["index"], values.astype(kind))


def main(module: str, threads: str, seconds: str, pipe: str) -> None:
    """Load each model and run it once, and answer; after so many seconds SIGALRM ends the process.

    What the runtime says in an exception is no matter here: it says so again to who asked.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected, its memory is not kept
    make = importlib.import_module(module).Interpreter
    connection = Connection(int(pipe))
    with contextlib.suppress(EOFError, OSError):  # who asks is done, or gone
        while True:
            content = connection.recv_bytes()
            # In this process, so that it ends too where the one that started it was killed.
            signal.setitimer(signal.ITIMER_REAL, float(seconds))
            _run_once(make, content, int(threads))
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(b"")


def _run_once(make: Callable[..., Any], content: bytes, threads: int) -> None:
    with contextlib.suppress(ValueError, RuntimeError, MemoryError):
        interpreter = make(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
        fill_inputs(interpreter)
        interpreter.invoke()


if __name__ == "__main__":
    main(*sys.argv[1:])
