"""When the words of an image leave the layers of a part.

Two counts of the same: the reference's, and one of what the circuits do. Both are walks over the
layers in order, for one way to build each or for several of some of them side by side; plain
numbers stay plain on the way, which is quicker.

Changing one layer changes the walk behind it. ``around`` gives the change to first order: how much
later the last word leaves if this layer's words do, from one walk back along the path that decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.foldings import Picked

__all__ = ["Around", "Flow", "PhysicalTiming", "ReferenceTiming", "Timing", "largest"]

Array = NDArray[np.float64]
Cycles = Array | float


@dataclass(frozen=True)
class Flow:
    """Which layer takes whose output.

    Attributes:
        before: for each layer, places of those whose output it takes.
        whole: whether a layer needs a whole feature map before its first word leaves.
        first: place of the first layer that reads from memory.
        port_interval: cycles that an image takes to come in, from memory and through the port.
    """

    before: Sequence[Sequence[int]]
    whole: Sequence[bool]
    first: int
    port_interval: float


class Timing(ABC):
    """A count of cycles.

    Args:
        flow: which layer takes whose output.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    @abstractmethod
    def depth(self, rows: Sequence[Picked], interval: Cycles) -> Cycles:
        """Return the cycles that one image takes beyond an interval.

        Args:
            rows: the way to build each layer; of some of them several side by side.
            interval: cycles, of the same shape as those.
        """

    @abstractmethod
    def waiting(
        self, rows: Sequence[Picked], meeting: Sequence[int]
    ) -> dict[tuple[int, int], Cycles]:
        """Return the words of a stream that wait for other branches.

        Args:
            rows: see ``depth``.
            meeting: places of layers at which branches meet.

        Returns:
            For each of them and each layer whose output it takes.
        """

    @abstractmethod
    def around(self, rows: Sequence[Picked], interval: float) -> Around:
        """Look closely at one way to build each layer."""


class Around(ABC):
    """What changing one layer would do, to first order.

    Attributes:
        now: the depth without a change.
    """

    now: float

    @abstractmethod
    def depth(self, at: int, ways: Picked, interval: Array) -> Array:
        """Return the depth with other ways to build one layer.

        Args:
            at: place of the layer.
            ways: several side by side.
            interval: cycles with each of them, (ways,).
        """


class ReferenceTiming(Timing):
    """The depth of the longest path, as the reference counts it.

    Over a path of layers j it is the sum of depth_j / rate_j + interval words_0 / (words_in_j
    words_out_j), where the words are those of one stream. For queues, without an interval, it is
    the sum of depth_j + latency_j words_0 / (words_in_j words_out_j).
    """

    def depths(self, rows: Sequence[Picked], interval: Cycles | None) -> list[Cycles]:
        """Return the depth of the path to each layer; without an interval, that for queues."""
        words = rows[self.flow.first].words_in
        found: list[Cycles] = []
        for at, row in enumerate(rows):
            pace = row.latency if interval is None else interval
            depth = row.depth if interval is None else row.delay
            start: Cycles = 0.0
            for before in self.flow.before[at]:
                start = larger(start, found[before] + pace * _squeezing(words, rows[before], row))
            found.append(start + depth + pace * words / (row.words_in * row.words_out))
        return found

    def depth(self, rows: Sequence[Picked], interval: Cycles) -> Cycles:
        """Return the depth of the longest path."""
        return largest(self.depths(rows, interval))

    def waiting(
        self, rows: Sequence[Picked], meeting: Sequence[int]
    ) -> dict[tuple[int, int], Cycles]:
        """Return the differences in depth, which the reference counts as words."""
        depths = self.depths(rows, None)
        found: dict[tuple[int, int], Cycles] = {}
        for at in meeting:
            latest = largest([depths[before] for before in self.flow.before[at]])
            found.update({(at, one): latest - depths[one] for one in self.flow.before[at]})
        return found

    def around(self, rows: Sequence[Picked], interval: float) -> Around:
        """Look closely at one way to build each layer."""
        depths = [float(one) for one in self.depths(rows, interval)]
        words = float(rows[self.flow.first].words_in)
        decides, share = set(), 0.0
        at = max(range(len(rows)), key=depths.__getitem__)
        now = depths[at]
        while True:
            decides.add(at)
            row = rows[at]
            share += words / float(row.words_in * row.words_out)
            squeezed = {
                before: float(_squeezing(words, rows[before], row))
                for before in self.flow.before[at]
            }
            if not squeezed:
                break
            before = max(squeezed, key=lambda one: depths[one] + interval * squeezed[one])
            share += squeezed[before]
            at = before
        return _ReferencePath(list(rows), interval, self.flow.first, now, share, decides)


@dataclass(frozen=True)
class _ReferencePath(Around):
    """The longest path: of which layers it is, and how it grows with the interval."""

    rows: list[Picked]
    interval: float
    first: int
    now: float
    share: float
    decides: set[int]

    def depth(self, at: int, ways: Picked, interval: Array) -> Array:
        now, words = self.rows[at], self.rows[self.first].words_in
        own = words / (now.words_in * now.words_out)
        share: Array | float = self.share
        found: Array = self.now + np.zeros_like(interval)
        if at in self.decides:
            share = share - own + words / (ways.words_in * ways.words_out)
            found = found + ways.delay - now.delay
        if at == self.first:  # all are counted in its words
            share = share * (ways.words_in / now.words_in)
        return found + interval * share - self.interval * self.share


class PhysicalTiming(Timing):
    """When the first and the last word of an image leave each layer.

    A layer's words leave at the pace of the slowest before it or its own; one that needs a whole
    feature map starts when that is there.
    """

    def times(self, rows: Sequence[Picked]) -> list[tuple[Cycles, Cycles]]:
        """Return the cycles until the first and the last word leave each layer."""
        several = any(isinstance(row.latency, np.ndarray) for row in rows)
        later = np.maximum if several else max
        found: list[tuple[Cycles, Cycles]] = []
        for row, before, whole in zip(rows, self.flow.before, self.flow.whole, strict=True):
            start, end = found[before[0]] if before else (0.0, self.flow.port_interval)
            for one in before[1:]:
                start, end = later(start, found[one][0]), later(end, found[one][1])
            found.append(_leaves(row, start, end, whole, later))
        return found

    def depth(self, rows: Sequence[Picked], interval: Cycles) -> Cycles:
        """Return the cycles until the last word of all, beyond an interval.

        Where memory sets the interval, all of it takes as much longer.
        """
        last = largest([last for _, last in self.times(rows)])
        return larger(0.0, last * self._waits(rows, interval) - interval)

    def _waits(self, rows: Sequence[Picked], interval: Cycles) -> Cycles:
        slowest = larger(self.flow.port_interval, largest([row.latency for row in rows]))
        return larger(1.0, interval / slowest)

    def waiting(
        self, rows: Sequence[Picked], meeting: Sequence[int]
    ) -> dict[tuple[int, int], Cycles]:
        """Return the words that wait: no more than a feature map has.

        They come evenly from the first to the last, and are taken evenly from the last branch's
        first word to its last.
        """
        times = self.times(rows)
        found: dict[tuple[int, int], Cycles] = {}
        for at in meeting:
            before = self.flow.before[at]
            start = largest([times[one][0] for one in before])
            end = largest([times[one][1] for one in before])
            for one in before:
                found[at, one] = rows[at].words_in * _share_waiting(*times[one], start, end)
        return found

    def around(self, rows: Sequence[Picked], interval: float) -> Around:
        """Look closely at one way to build each layer."""
        times = [(float(first), float(last)) for first, last in self.times(rows)]
        arrivals: list[tuple[float, float]] = []
        slopes = [[0.0, 0.0] for _ in rows]
        decides = max(range(len(rows)), key=lambda at: times[at][1])
        slopes[decides][1] = 1.0
        before = self.flow.before
        for at in range(len(rows)):
            start = max((times[one][0] for one in before[at]), default=0.0)
            end = max((times[one][1] for one in before[at]), default=self.flow.port_interval)
            arrivals.append((start, end))
        for at in reversed(range(len(rows))):
            by_first, by_last = slopes[at]
            if not (by_first or by_last) or not before[at]:
                continue
            start, end = arrivals[at]
            latency, window = float(rows[at].latency), float(rows[at].window)
            own = end - start <= latency  # its own pace decides, not what comes
            if self.flow.whole[at]:
                both = by_first + by_last
                by_start, by_end = (both, 0.0) if own else (0.0, both)
            elif own:
                by_start, by_end = by_first + by_last, 0.0
            else:
                by_start, by_end = by_first * (1 - window), by_last + by_first * window
            slopes[max(before[at], key=lambda one: times[one][0])][0] += by_start
            slopes[max(before[at], key=lambda one: times[one][1])][1] += by_end
        waits = float(self._waits(rows, interval))
        last = times[decides][1]
        now = max(0.0, last * waits - interval)
        return _PhysicalPath(times, arrivals, slopes, last, waits, now, self.flow.whole)


@dataclass(frozen=True)
class _PhysicalPath(Around):
    """When words come and leave, and how much later the last of all leaves if they do."""

    times: list[tuple[float, float]]
    arrivals: list[tuple[float, float]]
    slopes: list[list[float]]
    last: float
    waits: float
    now: float
    whole: Sequence[bool]

    def depth(self, at: int, ways: Picked, interval: Array) -> Array:
        first, last = _leaves(ways, *self.arrivals[at], self.whole[at], np.maximum)
        by_first, by_last = self.slopes[at]
        one, other = self.times[at]
        total = self.last + by_first * (first - one) + by_last * (last - other)
        found: Array = np.maximum(np.maximum(total, last) * self.waits - interval, 0.0)
        return found


def _leaves(
    row: Picked, start: Cycles, end: Cycles, whole: bool, later: Callable[[Any, Any], Any]
) -> tuple[Cycles, Cycles]:
    """Return when a layer's first and last word leave, if they come from start to end."""
    if whole:
        first = later(end, start + row.latency) + row.fill
        return first, first + row.words_out
    taking = later(end - start, row.latency)
    return start + row.fill + row.window * taking, start + taking + row.fill


def _squeezing(words: Cycles, one: Picked, other: Picked) -> Cycles:
    """Return the share of an interval that a squeeze between two layers adds to a depth."""
    adapted = one.streams_out != other.streams_in
    if isinstance(adapted, np.ndarray):
        return adapted * (words / (one.words_out * other.words_in))
    return words / (one.words_out * other.words_in) if adapted else 0.0


def _share_waiting(first: Cycles, last: Cycles, start: Cycles, end: Cycles) -> Cycles:
    """Return the largest share of a feature map that waits in a queue.

    Args:
        first: when its first word comes, in cycles.
        last: when its last comes.
        start: when the first is taken, not before it comes.
        end: when the last is taken, not before it comes.
    """
    at_start = np.minimum(1.0, (start - first) / np.maximum(last - first, 1.0))
    at_last = 1 - (last - start) / np.maximum(end - start, 1.0)
    return np.maximum(at_start, np.where(last > start, at_last, 0.0))


def larger(one: Cycles, other: Cycles) -> Cycles:
    """Return the larger, element by element."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.maximum(one, other)
    return one if one > other else other


def largest(values: Sequence[Cycles]) -> Cycles:
    """Return the largest, element by element; 0 of none."""
    start: Cycles = 0.0
    return reduce(larger, values, start)
