"""Results that do not depend on the number of cores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums split over threads round differently with their number.

    The networks trained here are small, so a second thread would gain little; several at a time
    belong into several processes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
