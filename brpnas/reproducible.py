"""Results that do not depend on the number of cores, nor on luck."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

__all__ = ["reproducible"]


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Compute on one CPU thread, and on a GPU with deterministic algorithms.

    Sums split over threads round differently with their number. The networks trained here are
    small, so a second thread would gain little; several at a time belong into several processes.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
