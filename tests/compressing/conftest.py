from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import pytest

from brpnas.compressing.subject import Progress, Subject, prepare, read_subject


@contextlib.contextmanager
def _silent(_: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda _done, _total: None


@pytest.fixture(scope="session")
def bars() -> Progress:
    return _silent


@pytest.fixture(scope="session")
def subject(bars: Progress) -> Subject:
    """digits-cnn, with 288 of its images and their labels, and few options."""
    loaded, images = read_subject(None, None, None, None, labels=True, most=288, seed=0)
    assert images.test is not None
    x, y = images.test
    images = dataclasses.replace(images, test=(x[:200], y[:200]))
    return prepare(loaded, images, cost="macs", seed=0, bars=bars, options=5)
