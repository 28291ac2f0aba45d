"""The fastest foldings of a part that a board has room for.

Given an interval, every layer takes a folding that keeps it, and the foldings share the board: a
multiple-choice knapsack with several resources. Its Lagrangian dual prices the resources; the
layers are then independent, and each takes its cheapest folding. A dual value above the budget
proves that no choice fits. The prices found lead to a choice which is then improved layer by layer,
with the squeezes and queues that it needs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.mapping.room import Room
from brpnas.devices.fpga.mapping.shares import Shares
from brpnas.devices.fpga.partition import PartCosts, Segment

__all__ = ["Filler"]

Array = NDArray[np.float64]
Choice = tuple[int, ...]

_DUAL_STEPS = 24
_SWEEPS = 8
_ROUNDS = 3
_ROOMY = 0.97  # a choice that takes less fits: no need to look for a smaller one
_WAITS = 16
"""Intervals tried beyond the slowest folding, where only memory would be waited for."""
_NEXT_INTERVAL = 1.3
_MISSES = 3  # longer intervals that do not pay are taken as a sign that none will
_WORTHS = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.0)
"""Of the whole board, in depths: foldings are chosen by time and room, and at last by time."""


class Filler:
    """Chooses foldings for the layers of a part.

    Args:
        segment: the part.
    """

    def __init__(self, segment: Segment) -> None:
        self.segment, self.problem = segment, segment.problem
        self.shares = Shares(segment)
        fastest = np.minimum.reduceat(self.shares.latency, self.shares.starts).max()
        self.least = float(max(fastest, segment.port_interval, self.shares.own_traffic))
        resources = self.shares.shares.shape[1] + 1
        self._prices = np.full(resources, 1 / resources)

    def quickest(
        self, shortest: Choice, at_most: float = math.inf
    ) -> tuple[Choice, PartCosts] | None:
        """Return the choice with which a batch is done first, if one is found that fits.

        Args:
            shortest: a choice of the least interval, to start from.
            at_most: cycles of a batch, for one load of the weights; more are of no use.
        """
        batch = self.problem.batch
        best: tuple[Choice, PartCosts] | None = None
        interval = self.interval(shortest)
        choice: Choice | None = shortest
        misses = 0
        while choice and interval * batch < at_most and misses < _MISSES:
            found = self._hurried(interval, choice)
            cycles = found[1].interval * batch + found[1].depth if found else math.inf
            misses += 1
            if found and cycles < at_most:
                best, at_most, misses = found, cycles, 0
            interval *= _NEXT_INTERVAL
            choice = self._improved(interval, None)
        return best

    def interval(self, choice: Choice) -> float:
        """Return the interval that a choice keeps."""
        rows = self.shares.starts + choice
        traffic = float(self.shares.traffic[rows].sum()) + self.shares.own_traffic
        return max(self.least, traffic, float(self.shares.latency[rows].max()))

    def _hurried(self, interval: float, choice: Choice) -> tuple[Choice, PartCosts] | None:
        """Spend what is left of the board on a shorter depth."""
        total = Room(self.shares, interval, choice)
        best: tuple[Choice, PartCosts] | None = None
        scale = float(self.segment.timing.depth(self.segment.picked(choice), interval))
        for share in _WORTHS:
            for _ in range(_SWEEPS):
                changed = [total.quicker(at, share * scale) for at in range(len(choice))]
                if not any(changed):
                    break
        for end in (tuple(total.choice), choice):
            costs = self.segment.judge(end)
            if self.segment.fits(costs) and (best is None or costs.cycles < best[1].cycles):
                best = end, costs
        return best

    def fastest(self, at_most: float = math.inf) -> Choice | None:
        """Return the choice with the least interval that fits, if one is found.

        Args:
            at_most: an interval, in cycles; a longer one is of no use.
        """
        slowest = float(self.shares.latency.max())
        waiting = np.geomspace(slowest, max(slowest, self._most_traffic) * 1.01, _WAITS)
        times = np.unique(np.concatenate([self.shares.latency, waiting]))
        times = times[(times > self.least) & (times <= at_most)]
        if self.least <= at_most:
            times = np.concatenate([[self.least], times])
        low, high = 0, len(times)  # times[high] is the first known to fit
        relaxed: Choice | None = None
        while low < high:
            middle = (low + high) // 2 if relaxed else min(low + (high - low) * 3 // 4, high - 1)
            found = self._relaxed(float(times[middle]))
            if found:
                relaxed, high = found, middle
            else:
                low = middle + 1
        step = 0
        while low < len(times):
            choice = self._improved(float(times[low]), relaxed)
            if choice:
                return choice
            relaxed = None
            step = step * 2 + 1
            # The squeezes need room: a little more time at first, then more and more.
            low = max(low + 1, int(np.searchsorted(times, times[low] * (1 + 0.002 * step))))
        return None

    @property
    def _most_traffic(self) -> float:
        """Cycles that an image takes to stream in if all weights do, folded as it suits least."""
        most = np.maximum.reduceat(self.shares.traffic, self.shares.starts)
        return float(most.sum()) + self.shares.own_traffic

    def smallest(self) -> tuple[Choice, Array]:
        """Return the choice that takes least, however slow, and its shares of the board."""
        interval = float(self.shares.latency.max()) + self._most_traffic
        choice: Choice = (0,) * len(self.shares.counts)
        room = self._shrunk(Room(self.shares, interval, choice), 0)
        return tuple(room.choice), room.used

    def _relaxed(self, interval: float) -> Choice | None:
        """Return foldings that keep an interval and fit, squeezes aside; None: none was found."""
        rows = np.flatnonzero(self.shares.latency <= interval)
        shares = np.column_stack([self.shares.shares[rows], self.shares.traffic[rows] / interval])
        layer = self.shares.layer[rows]
        starts = np.searchsorted(layer, np.arange(len(self.shares.counts)))
        counts = np.diff(starts, append=len(rows))
        own = np.zeros(shares.shape[1])
        own[-1] = self.shares.own_traffic / interval
        best, best_excess = None, math.inf
        for prices in (self._prices, np.full(shares.shape[1], 1 / shares.shape[1])):
            for step in range(_DUAL_STEPS):
                cost = shares @ prices
                least = np.minimum.reduceat(cost, starts)
                chosen = _first(cost <= np.repeat(least, counts), layer, len(self.shares.counts))
                used = shares[chosen].sum(axis=0) + own
                excess = float(used.max())
                if excess < best_excess:
                    best, best_excess = rows[chosen], excess
                    if excess <= 1:
                        self._prices = prices
                        return self._local(best)
                if least.sum() + prices @ own > 1:  # whatever is chosen costs more than there is
                    return None
                prices = prices * np.exp(2 / math.sqrt(step + 1) * np.clip(used - 1, -1, 2))
                prices /= prices.sum()
            assert best is not None  # noqa: S101 - the first step has one
            choice = self._descended(interval, self._local(best))
            if choice:
                self._prices = prices
                return choice
        return None  # though it is not proven that there is none

    def _local(self, rows: NDArray[np.intp]) -> Choice:
        return tuple((rows - self.shares.starts).tolist())

    def _improved(self, interval: float, choice: Choice | None) -> Choice | None:
        """Return a choice that keeps an interval and fits in truth, if one is found."""
        if choice is None:
            choice = self._relaxed(interval)
        if choice is None:
            return None
        for _ in range(2):  # the queues follow the choice
            choice = self._descended(interval, choice)
            if choice is None:
                return None
            if self.segment.fits(self.segment.judge(choice)):
                return choice
        return None

    def _descended(self, interval: float, choice: Choice) -> Choice | None:
        """Change what takes most of the scarcest resource; None: it does not fit then."""
        room = self._shrunk(Room(self.shares, interval, choice), _ROOMY)
        return tuple(room.choice) if room.used.max() <= 1 + 1e-12 else None

    def _shrunk(self, room: Room, enough: float) -> Room:
        """Make a choice smaller, until it takes no more than that share of the board."""
        for _ in range(_ROUNDS):
            before = room.score
            for _ in range(_SWEEPS):
                swept = room.score
                for at in range(len(room.choice)):
                    room.smaller(at)
                if room.score >= swept - 1e-4 or room.used.max() <= enough:
                    break
            if room.used.max() <= max(enough, 1.0):
                break
            room.smaller_chains(enough)
            if room.score >= before - 1e-4:
                break
        return room


def _first(hits: NDArray[np.bool_], layer: NDArray[np.intp], layers: int) -> NDArray[np.intp]:
    """Return the first row that is hit in each layer."""
    rows = np.flatnonzero(hits)
    return rows[np.searchsorted(layer[rows], np.arange(layers))]
