"""The least time of a part over all foldings, with proof: branch and bound.

Designs are sorted into bands of intervals. In a band every layer takes a folding that keeps it, and
what foldings take of each resource, of the memory's bandwidth and of the time that is left adds up.
So for any prices, a beginning of a design (foldings of the first layers) is worth continuing only
if what it costs, and the cheapest that can follow, are no more than the budget. Lagrangian duals
give the prices.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.foldings import Foldings
from brpnas.devices.fpga.many import Jury
from brpnas.devices.fpga.mapping.shares import utilisation
from brpnas.devices.fpga.partition import WAITING, Segment
from brpnas.devices.fpga.squeezes import squeeze_table
from brpnas.devices.fpga.timing import PhysicalTiming, Timing

__all__ = ["Budget", "OutOfTime", "Quickest"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_DUAL_STEPS = 60
_KEPT_PRICES = 12
_BLOCK = 1024  # beginnings that are continued together
_ALMOST = 1e-10  # of a share, for rounding
_CYCLE = 1e-6
_FOREVER = 1e15  # cycles


class OutOfTime(Exception):  # noqa: N818 - not an error: the search ends with what it has
    """The search was stopped before it was done."""


class Budget:
    """What a search may take.

    Args:
        seconds: of the clock.
        blocks: of beginnings that are continued together; the same on every machine.
    """

    def __init__(self, seconds: float = math.inf, blocks: float = math.inf) -> None:
        self._deadline, self._blocks = time.monotonic() + seconds, blocks

    def spend(self) -> None:
        """Count a block.

        Raises:
            OutOfTime: there is nothing left.
        """
        self._blocks -= 1
        if self._blocks < 0 or time.monotonic() > self._deadline:
            raise OutOfTime


@dataclass(frozen=True)
class _Band:
    """Designs with an interval in [low, high), whose first layer has so many streams.

    Attributes:
        low: cycles.
        rows: of each layer, those that keep the interval.
        shares: of each layer, what these rows take, (rows, columns).
        scale: cycles that are 1 in the columns of time.
        start: what is taken before the first layer, (columns,).
        prices: (columns, vectors).
        least: of each layer and those behind it, the least cost, (layers + 1, vectors).
    """

    low: float
    rows: list[Rows]
    shares: list[Array]
    scale: float
    start: Array
    prices: Array
    least: Array


class Quickest:
    """Finds the choice of foldings with which a batch is done first.

    Args:
        segment: the part.
        budget: what the search may take.
    """

    def __init__(self, segment: Segment, budget: Budget) -> None:
        self.segment, self.problem, self.budget = segment, segment.problem, budget
        self.jury = Jury(segment)
        self.exact = self.problem.reference_exact
        meeting = any(node.kind in WAITING for node in segment.nodes)
        # A quicker way may need a longer queue where branches meet.
        everything = [np.arange(len(way)) for way in segment.ways]
        self.rows = everything if meeting else [_best(way, self.exact) for way in segment.ways]
        self.taken = [
            np.column_stack(
                [
                    utilisation(way.resources, self.problem),
                    way.weight_bits / self.problem.bits_per_cycle,
                ]
            )
            for way in segment.ways
        ]
        self.latency = [way.latency.copy() for way in segment.ways]
        for at, resources, cycles in self.jury.ports:
            self.taken[at][:, :-1] += utilisation(resources, self.problem)
            self.latency[at] = np.maximum(self.latency[at], cycles)
        own = segment.memory_bits / self.problem.bits_per_cycle
        self.start = np.array(
            [0, 0, 0, 0, 0, own, *([0] if self.exact else [0, segment.port_interval])]
        )
        self.prices: Array | None = None
        self.best: tuple[int, ...] | None = None
        flow = segment.timing.flow
        self.timings: list[Timing] = [
            type(segment.timing)(replace(flow, before=flow.before[:n], whole=flow.whole[:n]))
            for n in range(len(segment.ways) + 1)
        ]
        """Of beginnings: of the first layers."""
        self.squeezes = self._squeeze_shares()
        self.everywhere = self._everywhere()

    def _squeeze_shares(self) -> list[list[tuple[int, Rows, Rows, Array]]]:
        """Return for each layer the tables of the squeezes before it."""
        found: list[list[tuple[int, Rows, Rows, Array]]] = [[] for _ in self.segment.nodes]
        for first, second in self.segment.edges:
            outs, which_out = self.segment.ways[first].ports_out
            ins, which_in = self.segment.ways[second].ports_in
            width = self.problem.words.data
            table = squeeze_table(tuple(outs.tolist()), tuple(ins.tolist()), width)
            shares = utilisation(table, self.problem)
            found[second].append((first, which_out, which_in, shares))
        return found

    def _everywhere(self) -> list[bool]:
        """Return which layers every path runs through: their times always add up."""
        last = len(self.segment.nodes) - 1
        return [
            all(not first < at < second for first, second in self.segment.edges)
            and min(self.segment.sinks) >= at
            for at in range(last + 1)
        ]

    def below(self, cycles: float) -> tuple[int, ...] | None:
        """Return the quickest choice that the board has room for; None: there is none.

        Args:
            cycles: of a batch; designs that take as many or more are of no use.

        Raises:
            OutOfTime: the budget is spent; ``best`` is what was found.
        """
        self.best = None
        self.limit = min(cycles, _FOREVER)
        latency = np.concatenate(
            [one[own] for one, own in zip(self.latency, self.rows, strict=True)]
        )
        least = math.ceil(max(self.start[5], *(float(one.min()) for one in self.latency)))
        lows = [least, *np.unique(latency[latency > least]).tolist()]
        for low, high in zip(lows, [*lows[1:], math.inf], strict=True):
            if low * self.problem.batch >= self._one_load():
                break
            for streams in self.segment.ways[0].ports_in[0]:
                band = self._band(low, high, streams)
                if band:
                    self._search(band)
        return self.best

    def _one_load(self) -> float:
        """Return the cycles that a batch may take, for one load of the weights."""
        segment = self.segment
        return (self.limit - (segment.reloads - 1) * segment.reload_words) / segment.reloads

    def _time_left(self, low: float) -> float:
        """Return what is left beyond the intervals: a depth, or when the last word leaves."""
        left = self._one_load() - low * self.problem.batch
        return left if self.exact else left + low

    def _band(self, low: float, high: float, streams: int) -> _Band | None:
        """Return the designs of a band; None: none of them fits."""
        segment = self.segment
        scale = self._time_left(low)
        if scale <= 0:
            return None
        rows = [
            own[(latency[own] < high) & (taken[own, -1] < high)]
            for own, latency, taken in zip(self.rows, self.latency, self.taken, strict=True)
        ]
        rows[0] = rows[0][segment.ways[0].streams_in[rows[0]] == streams]
        if not all(len(own) for own in rows):
            return None
        words = float(segment.ways[0].words_in[rows[0][0]])
        shares = []
        for at, (own, way) in enumerate(zip(rows, segment.ways, strict=True)):
            columns = self.taken[at][own].copy()
            columns[:, -1] /= high
            times = self._times(way, own, low, words, at == len(rows) - 1)
            shares.append(np.column_stack([columns, times / scale * self.everywhere[at]]))
        start = self.start / np.array([1] * 5 + [high] + [scale] * (len(self.start) - 6))
        band = _Band(low, rows, shares, scale, start, np.empty(0), np.empty(0))
        prices = self._prices(shares, self._budget(band) - start)
        if prices is None:
            return None
        least = np.zeros((len(rows) + 1, prices.shape[1]))
        for at in range(len(rows) - 1, -1, -1):
            least[at] = least[at + 1] + (shares[at] @ prices).min(axis=0)
        return replace(band, prices=prices, least=least)

    def _times(self, way: Foldings, rows: Rows, low: float, words: float, final: bool) -> Array:
        """Return the cycles that a layer adds to the time of the first and of the last word.

        In the reference's count there is one depth: (rows, 1), otherwise (rows, 2).
        """
        if self.exact:
            passing = low * words / (way.words_in[rows] * way.words_out[rows])
            return (way.delay[rows] + passing)[:, None]
        fill, latency = way.fill[rows], way.latency[rows]
        leaving = way.words_out[rows] if way.whole else 0 * fill
        taking = latency if way.whole or final else way.window[rows] * latency
        first = fill + taking + (leaving if final else 0)
        return np.stack([first, fill + leaving], axis=1)

    def _budget(self, band: _Band) -> Array:
        """Return what designs may take."""
        left = (self._time_left(band.low) - _CYCLE) / band.scale
        return np.array([1.0] * 6 + [left] * (len(self.start) - 6))

    def _prices(self, shares: list[Array], budget: Array) -> Array | None:
        """Return vectors of prices, (columns, vectors); None: they prove that nothing fits."""
        columns = len(budget)
        prices = np.ones(columns) / columns if self.prices is None else self.prices
        tried = []
        for step in range(_DUAL_STEPS):
            used = np.zeros(columns)
            cost = 0.0
            for share in shares:
                priced = share @ prices
                row = int(priced.argmin())
                used += share[row]
                cost += float(priced[row])
            slack = cost - float(prices @ budget)
            if slack > _ALMOST:
                self.prices = prices  # they may do for the next band too
                return None
            tried.append((slack, prices))
            excess = np.clip(used - budget, -1, 2)
            prices = prices * np.exp(2 / math.sqrt(step + 1) * excess)
            prices = prices / prices.sum()
        tried.sort(key=lambda one: -one[0])
        return np.stack([*np.eye(columns), *(prices for _, prices in tried[:_KEPT_PRICES])], axis=1)

    def _search(self, band: _Band) -> None:
        """Continue beginnings, the most promising first, and keep the best design."""
        layers = len(band.rows)
        stack = [(np.zeros((1, 0), dtype=np.intp), band.start[None])]
        while stack:
            self.budget.spend()
            rows, used = stack.pop()
            at = rows.shape[1]
            if at == layers:
                self._judge(rows)
                continue
            rows, used, hope = self._continued(band, rows, used)
            order = np.argsort(hope)
            blocks = range(0, len(order), _BLOCK)
            # The last block is taken next: the one with the most budget left.
            stack += [(rows[o], used[o]) for o in (order[b : b + _BLOCK] for b in blocks)]

    def _continued(self, band: _Band, rows: Rows, used: Array) -> tuple[Rows, Array, Array]:
        """Return beginnings with one more layer, what they take, and the budget that is left."""
        at = rows.shape[1]
        own = band.rows[at]
        new = np.repeat(used[:, None], len(own), axis=1) + band.shares[at]
        for first, which_out, which_in, table in self.squeezes[at]:
            new[..., :5] += table[which_out[rows[:, first]][:, None], which_in[own][None]]
        parent, child = np.nonzero(self._hope(band, new, at + 1) >= -_ALMOST)
        longer = np.column_stack([rows[parent], own[child]])
        new = new[parent, child]
        if len(new):
            new[:, 6:] = self._elapsed(band, longer) / band.scale
        hope = self._hope(band, new, at + 1)
        kept = hope >= -_ALMOST
        return longer[kept], new[kept], hope[kept]

    def _hope(self, band: _Band, used: Array, at: int) -> Array:
        """Return the budget that is left at the prices at which least is left."""
        budget = self._budget(band)
        left: Array = (budget @ band.prices - band.least[at] - used @ band.prices).min(axis=-1)
        return left

    def _elapsed(self, band: _Band, rows: Rows) -> Array:
        """Return the cycles of beginnings: the depth, or when first and last words leave."""
        ways = self.segment.ways
        picked = [way.picked(own) for way, own in zip(ways, rows.T, strict=False)]
        timing = self.timings[rows.shape[1]]
        if isinstance(timing, PhysicalTiming):
            first, last = zip(*timing.times(picked), strict=True)
            return np.stack([_latest(first, len(rows)), _latest(last, len(rows))], axis=1)
        return np.stack([_latest([timing.depth(picked, band.low)], len(rows))], axis=1)

    def _judge(self, rows: Rows) -> None:
        """Keep the best of whole designs."""
        costs = self.jury.judge(rows)
        cycles = np.where(costs.fits, costs.cycles, math.inf)
        at = int(cycles.argmin())
        if cycles[at] < self.limit:
            self.limit, self.best = float(cycles[at]), tuple(rows[at].tolist())


def _latest(cycles: Sequence[Array | float], rows: int) -> Array:
    found = np.zeros(rows)
    for one in cycles:
        found = np.maximum(found, one)
    return found


def _best(way: Foldings, exact: bool) -> Rows:
    """Return the rows for which no other row with the same streams is as good in everything."""
    columns = [way.latency, *way.resources.T, way.weight_bits]
    columns += [way.delay] if exact else [way.fill, way.window]
    table = np.column_stack(columns)  # (rows, columns)
    kept: list[int] = []
    for row in np.lexsort(table.T[::-1]).tolist():
        same = [
            other
            for other in kept
            if way.streams_in[other] == way.streams_in[row]
            and way.streams_out[other] == way.streams_out[row]
        ]
        if not same or not (table[same] <= table[row]).all(axis=1).any():
            kept.append(row)
    return np.array(sorted(kept))
