"""The fastest foldings of a part that a board has room for.

Given an interval, every layer takes a folding that keeps it, and the foldings share the board: a
multiple-choice knapsack with several resources. Its Lagrangian dual prices the resources; the
layers are then independent, and each takes its cheapest folding. A dual value above the budget
proves that no choice fits. The prices found lead to a choice which is then improved layer by layer,
with the squeezes and queues that it needs.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.memory import fifo_blocks
from brpnas.devices.fpga.partition import (
    LOGIC_MARGIN,
    LUTS_PER_BLOCK,
    PartCosts,
    Problem,
    Segment,
    squeeze_costs,
)

__all__ = ["Filler", "utilisation"]

Array = NDArray[np.float64]
Choice = tuple[int, ...]

_DUAL_STEPS = 24
_SWEEPS = 8
_ROOMY = 0.97  # a choice that takes less fits: no need to look for a smaller one
_WAITS = 16
"""Intervals tried beyond the slowest folding, where only memory would be waited for."""
_NEXT_INTERVAL = 1.12
_MISSES = 2  # longer intervals that do not pay are taken as a sign that none will
_WORTHS = (2.0, 0.3, 0.0)
"""Of the whole board, in depths: foldings are chosen by time and room, and at last by time."""
_SHARE_OF_SUM = 0.02
"""What the mean utilisation counts beside the largest, so that ties are decided by it."""


def utilisation(resources: Array, problem: Problem) -> Array:
    """Return shares of the board: of DSP, LUT, FF, of block RAM and LUTs together, of URAM.

    Blocks can be built of LUTs, so a design fits if each of these is at most 1.

    Args:
        resources: (..., 5), in the order of ``RESOURCES``.
        problem: with the limits.

    Returns:
        Of shape (..., 5).
    """
    dsp, bram, lut, ff, uram = np.moveaxis(resources, -1, 0)
    limits = problem.limits
    lut, ff = lut * (1 + LOGIC_MARGIN), ff * (1 + LOGIC_MARGIN)
    return np.stack(
        [
            dsp / limits[0],
            lut / limits[2],
            ff / limits[3],
            (lut + LUTS_PER_BLOCK * bram) / (limits[2] + LUTS_PER_BLOCK * limits[1]),
            uram / limits[4] if limits[4] else uram,
        ],
        axis=-1,
    )


class Filler:
    """Chooses foldings for the layers of a part.

    Args:
        segment: the part.
    """

    def __init__(self, segment: Segment) -> None:
        self.segment, self.problem = segment, segment.problem
        ways = segment.ways
        self.latency = np.concatenate([way.latency for way in ways])
        self.shares = utilisation(np.concatenate([way.resources for way in ways]), segment.problem)
        bits = np.concatenate([way.weight_bits for way in ways])
        # The share of a cycle's memory traffic, times the interval.
        self.traffic = bits / self.problem.bits_per_cycle
        self.counts = np.array([len(way) for way in ways])
        self.starts = np.cumsum(self.counts) - self.counts
        self.layer = np.repeat(np.arange(len(ways)), self.counts)
        fastest = np.minimum.reduceat(self.latency, self.starts).max()
        self.own_traffic = segment.memory_bits / self.problem.bits_per_cycle
        self.least = float(max(fastest, segment.port_interval, self.own_traffic))
        self.prices = np.ones(self.shares.shape[1] + 1) / (self.shares.shape[1] + 1)
        self._squeezes: dict[tuple[int, int | None, int | None], Array] = {}

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
        rows = self.starts + choice
        traffic = float(self.traffic[rows].sum()) + self.own_traffic
        return max(self.least, traffic, float(self.latency[rows].max()))

    def _hurried(self, interval: float, choice: Choice) -> tuple[Choice, PartCosts] | None:
        """Spend what is left of the board on a shorter depth."""
        total = _Total(self, interval, choice)
        best: tuple[Choice, PartCosts] | None = None
        scale = float(self.segment.depth(self.segment.picked(choice), interval))
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
        slowest = float(self.latency.max())
        most_traffic = (
            float(np.maximum.reduceat(self.traffic, self.starts).sum()) + self.own_traffic
        )
        waiting = np.geomspace(slowest, max(slowest, most_traffic) * 1.01, _WAITS)
        times = np.unique(np.concatenate([self.latency, waiting]))
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

    def squeezes(self, at: int, before: int | None, after: int | None) -> Array:
        """Return the shares of the board of a squeeze beside a layer, for each way to build it.

        Args:
            at: place of the layer.
            before: streams of the neighbour before it; None: the squeeze is behind it. Below 0: of
                the board's memory, which has at most so many, and as many as the layer has.
            after: the same of the neighbour behind it.

        Returns:
            Of shape (ways, resources).
        """
        key = at, before, after
        found = self._squeezes.get(key)
        if found is None:
            way = self.segment.ways[at]
            streams, which = way.ports_out if before is None else way.ports_in
            rows = []
            for own in streams.tolist():
                other = before or after or 0
                other = min(own, -other) if other < 0 else other
                pair = (own, other) if before is None else (other, own)
                rows.append(_squeeze_shares(pair[0], pair[1], self.problem))
            found = self._squeezes[key] = np.array(rows)[which]
        return found

    def smallest(self) -> tuple[Choice, Array]:
        """Return the choice that takes least, however slow, and its shares of the board."""
        interval = float(self.latency.max() + self.traffic.max() * len(self.counts))
        choice: Choice = (0,) * len(self.counts)
        total = _Total(self, interval, choice)
        score = total.score(total.used)
        for _ in range(_SWEEPS):
            for at in range(len(choice)):
                score = total.better(at, score)
        return tuple(total.choice), total.used

    def _relaxed(self, interval: float) -> Choice | None:
        """Return foldings that keep an interval and fit, squeezes aside; None: none was found."""
        rows = np.flatnonzero(self.latency <= interval)
        shares = np.column_stack([self.shares[rows], self.traffic[rows] / interval])
        layer = self.layer[rows]
        starts = np.searchsorted(layer, np.arange(len(self.counts)))
        counts = np.diff(starts, append=len(rows))
        own = np.zeros(shares.shape[1])
        own[-1] = self.own_traffic / interval
        best, best_excess = None, math.inf
        prices = self.prices
        for step in range(_DUAL_STEPS):
            cost = shares @ prices
            least = np.minimum.reduceat(cost, starts)
            chosen = _first(cost <= np.repeat(least, counts), layer, len(self.counts))
            used = shares[chosen].sum(axis=0) + own
            excess = float(used.max())
            if excess < best_excess:
                best, best_excess = rows[chosen], excess
                if excess <= 1:
                    break
            if least.sum() + prices @ own > 1:  # whatever is chosen costs more than there is
                return None
            prices = prices * np.exp(2 / math.sqrt(step + 1) * np.clip(used - 1, -1, 2))
            prices /= prices.sum()
        self.prices = prices
        assert best is not None  # noqa: S101 - the first step has one
        if best_excess > 1:
            choice = self._descended(interval, self._local(best))
            return choice if choice else None
        return self._local(best)

    def _local(self, rows: NDArray[np.intp]) -> Choice:
        return tuple((rows - self.starts).tolist())

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
        """Change layer by layer what takes most of the scarcest resource; None: it does not fit."""
        total = _Total(self, interval, choice)
        score = total.score(total.used)
        for _ in range(_SWEEPS):
            before = score
            for at in range(len(choice)):
                score = total.better(at, score)
            if score >= before - 1e-4 or total.used.max() <= _ROOMY:
                break
        if total.used.max() > 1 + 1e-12:
            return None
        return tuple(total.choice)


class _Total:
    """What a choice takes, squeezes and queues included, and what changing one layer would do."""

    def __init__(self, filler: Filler, interval: float, choice: Choice) -> None:
        self.filler, self.segment, self.problem = filler, filler.segment, filler.problem
        self.interval, self.choice = interval, list(choice)
        shares = np.column_stack([filler.shares, filler.traffic / interval])
        self.shares = [
            shares[start : start + count]
            for start, count in zip(filler.starts, filler.counts, strict=True)
        ]
        self.allowed = [way.latency <= interval for way in self.segment.ways]
        self.port_in, self.port_out = self.segment.port_streams
        self.used = np.sum(
            [share[row] for share, row in zip(self.shares, self.choice, strict=True)], axis=0
        )
        self.used[-1] += filler.own_traffic / interval
        for _, _, one, other in self.segment.squeezes(choice):
            self.used = self.used + self._squeeze(one, other)
        queues = 0.0
        for (at, _), words in self.segment.buffers(choice).items():
            streams = float(self.segment.ways[at].streams_in[choice[at]])
            width = np.array(float(self.problem.words.data))
            queues += streams * float(fifo_blocks(np.array(float(words)), width))
        taken = utilisation(np.array([0, queues, 0, 0, 0]), self.problem)
        self.used = self.used + np.append(taken, 0)

    def score(self, used: Array) -> float:
        return float(used.max() + _SHARE_OF_SUM * used.mean())

    def _squeeze(self, one: int, other: int) -> Array:
        return _squeeze_shares(one, other, self.problem)

    def _around(self, at: int) -> Array:
        """Return the shares of the squeezes around a layer, for each way to build it."""
        segment, filler = self.segment, self.filler
        found = np.zeros_like(self.shares[at])
        for other in segment.before[at]:
            streams = segment.ways[other].picked(self.choice[other]).streams_out
            found = found + filler.squeezes(at, int(streams), None)
        for other in segment.after[at]:
            streams = segment.ways[other].picked(self.choice[other]).streams_in
            found = found + filler.squeezes(at, None, int(streams))
        for _ in range(segment.sources.count(at)):
            found = found + filler.squeezes(at, -self.port_in, None)
        if at in segment.sinks:
            found = found + filler.squeezes(at, None, -self.port_out)
        return found

    def better(self, at: int, score: float) -> float:
        """Take the best way to build one layer, the others unchanged; return the new score."""
        row, used = self.choice[at], self._used(at)
        scores = used.max(axis=1) + _SHARE_OF_SUM * used.mean(axis=1)
        scores[~self.allowed[at]] = math.inf
        new = int(scores.argmin())
        if new != row and scores[new] < score - 1e-9:
            self.choice[at], self.used = new, used[new]
            return float(scores[new])
        return score

    def quicker(self, at: int, weight: float) -> bool:
        """Take the way to build one layer with which a batch is done first, if there is room.

        Args:
            at: place of the layer.
            weight: cycles that the whole board is worth.
        """
        row, used = self.choice[at], self._used(at)
        rows = np.flatnonzero(self.allowed[at] & (used.max(axis=1) <= 1))
        if not len(rows):
            return False
        picked = self.segment.picked(self.choice)
        picked[at] = self.segment.ways[at].picked(rows)
        others = [one.latency for place, one in enumerate(picked) if place != at]
        least = max(self.segment.port_interval, *others)
        traffic = used[rows, -1] * self.interval
        interval = np.maximum(np.maximum(least, traffic), picked[at].latency)
        cycles = interval * self.problem.batch + self.segment.depth(picked, interval)
        cycles = cycles + weight * (used[rows] ** 4).mean(axis=1) ** 0.25
        new = int(rows[cycles.argmin()])
        now = cycles[rows == row]
        if new == row or (len(now) and cycles.min() >= now[0] * (1 - 1e-9)):
            return False
        self.choice[at], self.used = new, used[new]
        return True

    def _used(self, at: int) -> Array:
        """Return what the choice takes with each way to build a layer, (ways, resources)."""
        ways: Array = self.shares[at] + self._around(at)
        others: Array = self.used - ways[self.choice[at]]
        return others + ways


@lru_cache(maxsize=65536)
def _shares_of(one: int, other: int, width: int, limits: tuple[float, ...]) -> Array:
    dsp, bram, lut, ff, uram = squeeze_costs(one, other, width)
    lut, ff = lut * (1 + LOGIC_MARGIN), ff * (1 + LOGIC_MARGIN)
    memory = (lut + LUTS_PER_BLOCK * bram) / (limits[2] + LUTS_PER_BLOCK * limits[1])
    return np.array([dsp, lut / limits[2], ff / limits[3], memory, uram, 0.0])


def _squeeze_shares(one: int, other: int, problem: Problem) -> Array:
    return _shares_of(one, other, problem.words.data, tuple(problem.limits.tolist()))


def _first(hits: NDArray[np.bool_], layer: NDArray[np.intp], layers: int) -> NDArray[np.intp]:
    """Return the first row that is hit in each layer."""
    rows = np.flatnonzero(hits)
    return rows[np.searchsorted(layer[rows], np.arange(layers))]
