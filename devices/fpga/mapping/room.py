"""What a choice of foldings leaves of a board, and which changes make the most of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.foldings import Picked
from brpnas.devices.fpga.mapping.shares import Shares, utilisation
from brpnas.devices.fpga.timing import Around

__all__ = ["Room"]

Array = NDArray[np.float64]

_SHARE_OF_SUM = 0.02
"""What the mean utilisation counts beside the largest, so that ties are decided by it."""
_SHARPNESS = 8.0
"""How much dearer a resource is than one of which a board's worth less is used, in powers of e."""
_PRICE_STEPS = 6
_POWER = 4
"""Resources that are nearly used up count more than others: in a norm of this power."""


@dataclass(frozen=True)
class _View:
    """How long a choice takes, and what changing one layer would do to that.

    Attributes:
        picked: the way to build each layer.
        interval: cycles, with the wait for memory.
        compute: cycles of the interval without that wait.
        slowest: place of the layer with the longest latency.
        others: ``compute`` without that layer.
        around: what changing a layer would do to the depth.
        taken: of the board, in one number.
    """

    picked: list[Picked]
    interval: float
    compute: float
    slowest: int
    others: float
    around: Around
    taken: float


class Room:
    """What a choice takes, squeezes and queues included, and what changing it would do.

    Args:
        shares: of the part.
        interval: cycles that every layer keeps.
        choice: a way to build each layer.

    Attributes:
        choice: the same, as it is changed.
        used: shares of the board, and of its memory's traffic, (resources,).
    """

    def __init__(self, shares: Shares, interval: float, choice: Sequence[int]) -> None:
        self._all, self._segment, self._kept = shares, shares.segment, interval
        table = np.column_stack([shares.shares, shares.traffic / interval])
        self._shares = np.split(table, shares.starts[1:])
        self._slow = [way.latency > interval for way in self._segment.ways]
        self._ports = self._segment.port_streams
        self.choice = list(choice)
        self.used = self._total(choice)
        self._tables: dict[tuple[Any, ...], Array] = {}
        self._view: _View | None = None
        self._tried: set[tuple[int, float]] = set()

    def _total(self, choice: Sequence[int]) -> Array:
        used = np.sum([share[row] for share, row in zip(self._shares, choice, strict=True)], axis=0)
        used[-1] += self._all.own_traffic / self._kept
        for _, _, one, other in self._segment.squeezes(choice):
            used = used + self._all.squeeze(one, other)
        blocks = self._segment.queue_blocks(self._segment.picked(choice))
        queues = sum(float(count) for count in blocks.values())
        if queues:
            taken = utilisation(np.array([0, queues, 0, 0, 0]), self._segment.problem)
            used = used + np.append(taken, 0)
        total: Array = used
        return total

    @property
    def score(self) -> float:
        """What is used of the scarcest resource, mostly."""
        return float(self.used.max() + _SHARE_OF_SUM * self.used.mean())

    def smaller(self, at: int) -> None:
        """Take the smallest way to build one layer, the others unchanged."""
        used = self._used(at)
        scores = used.max(axis=0) + _SHARE_OF_SUM * used.mean(axis=0)
        scores[self._slow[at]] = math.inf
        new = int(scores.argmin())
        if new != self.choice[at] and scores[new] < self.score - 1e-9:
            self._take(at, new, used[:, new])

    def _take(self, at: int, row: int, used: Array) -> None:
        """Build one layer in another way."""
        self.choice[at], self.used = row, used
        self._forget()

    def _forget(self) -> None:
        """Drop what was known of another choice."""
        self._view = None
        self._tried.clear()

    def smaller_chains(self, enough: float) -> None:
        """Take the cheapest ways to build chains of layers, if that is smaller in all.

        A chain's cheapest ways, with the squeezes between, are a shortest path (Viterbi's
        algorithm) over numbers of streams: one layer alone often cannot change without a squeeze
        more. Prices follow what is scarce with the ways found, and the best of a few rounds stays.

        Args:
            enough: share of the board that need not be made smaller.
        """
        best = self.score, self.choice, self.used
        prices = np.exp(_SHARPNESS * (self.used - self.used.max()))
        for step in range(_PRICE_STEPS):
            if best[2].max() <= enough:
                break
            self.choice = list(self.choice)
            for chain in self._all.chains:
                self._cheapest(chain, prices)
            self.used = self._total(self.choice)
            if self.score < best[0] - 1e-9:
                best = self.score, self.choice, self.used
            rate = _SHARPNESS / (step + 2)
            prices = prices * np.exp(rate * (self.used - self.used.max()).clip(-1))
            prices = prices / prices.max()
        _, self.choice, self.used = best
        self._forget()

    def _cheapest(self, chain: Sequence[int], prices: Array) -> None:
        """Choose the ways to build a chain that cost least."""
        arrived = np.zeros(1)
        steps: list[tuple[NDArray[np.intp], NDArray[np.intp], Array]] = []
        for place, at in enumerate(chain):
            way = self._segment.ways[at]
            (ins, which_in), (outs, which_out) = way.ports_in, way.ports_out
            if place:
                cost = arrived[:, None] + self._all.between(chain[place - 1], at) @ prices
                came = cost.argmin(axis=0)
                arrived = cost[came, np.arange(len(ins))]
            else:
                came = np.zeros(len(ins), dtype=np.intp)
                arrived = np.zeros(len(ins))
            own = self._shares[at] @ prices
            if not place:
                own = own + self._before(at) @ prices
            if place == len(chain) - 1:
                own = own + self._behind(at) @ prices
            own[self._slow[at]] = math.inf
            own += arrived[which_in]
            left = np.full(len(outs), math.inf)
            np.minimum.at(left, which_out, own)
            steps.append((came, which_out, own))
            arrived = left
        out = int(arrived.argmin())
        for at, (came, which_out, own) in zip(reversed(chain), reversed(steps), strict=True):
            rows = np.flatnonzero(which_out == out)
            row = int(rows[own[rows].argmin()])
            self.choice[at] = row
            out = int(came[self._segment.ways[at].ports_in[1][row]])

    def quicker(self, at: int, weight: float) -> bool:
        """Take the way to build one layer with which a batch is done first, if there is room.

        Args:
            at: place of the layer.
            weight: cycles that the whole board is worth.
        """
        if (at, weight) in self._tried:
            return False
        self._tried.add((at, weight))
        view = self._view = self._view or self._look()
        used, ways = self._used(at), self._segment.ways[at]
        others = view.others if at == view.slowest else view.compute
        interval = np.maximum(np.maximum(others, used[-1] * self._kept), ways.latency)
        batch = self._segment.problem.batch
        guess = interval * batch + view.around.depth(at, ways, interval) + weight * _taken(used)
        guess[self._slow[at] | (used.max(axis=0) > 1)] = math.inf
        row = int(guess.argmin())
        now = view.interval * batch + view.around.now + weight * view.taken
        enough = now * (1 - 1e-9) if self.used.max() <= 1 else math.inf
        if row == self.choice[at] or guess[row] >= enough:
            return False
        picked = [*view.picked]
        picked[at] = ways.picked(row)
        depth = float(self._segment.timing.depth(picked, float(interval[row])))
        if interval[row] * batch + depth + weight * float(_taken(used[:, row])) >= enough:
            return False
        self._take(at, row, used[:, row])
        return True

    def _look(self) -> _View:
        """See how long the choice takes."""
        picked = self._segment.picked(self.choice)
        latencies = [float(one.latency) for one in picked]
        slowest = max(range(len(latencies)), key=latencies.__getitem__)
        others = max([self._segment.port_interval, *latencies[:slowest], *latencies[slowest + 1 :]])
        compute = max(others, latencies[slowest])
        interval = max(compute, float(self.used[-1]) * self._kept)
        around = self._segment.timing.around(picked, interval)
        return _View(picked, interval, compute, slowest, others, around, float(_taken(self.used)))

    def _used(self, at: int) -> Array:
        """Return what the choice takes with each way to build a layer, (resources, ways)."""
        segment, choice = self._segment, self.choice
        outs = [segment.ways[one].picked(choice[one]).streams_out for one in segment.before[at]]
        ins = [segment.ways[one].picked(choice[one]).streams_in for one in segment.after[at]]
        key = at, *outs, *ins
        ways = self._tables.get(key)
        if ways is None:
            sums: Array = self._shares[at] + self._before(at) + self._behind(at)
            ways = self._tables[key] = np.ascontiguousarray(sums.T)
        found: Array = (self.used - ways[:, choice[at]])[:, None] + ways
        return found

    def _before(self, at: int) -> Array | float:
        """Return the shares of the squeezes before a layer, for each way to build it."""
        found: Array | float = np.zeros_like(self._shares[at])
        for other in self._segment.before[at]:
            streams = self._segment.ways[other].picked(self.choice[other]).streams_out
            found = found + self._all.beside(at, int(streams), None)
        for _ in range(self._segment.sources.count(at)):
            found = found + self._all.beside(at, -self._ports[0], None)
        return found

    def _behind(self, at: int) -> Array | float:
        """Return the shares of the squeezes behind a layer, for each way to build it."""
        found: Array | float = np.zeros_like(self._shares[at])
        for other in self._segment.after[at]:
            streams = self._segment.ways[other].picked(self.choice[other]).streams_in
            found = found + self._all.beside(at, None, int(streams))
        if at in self._segment.sinks:
            found = found + self._all.beside(at, None, -self._ports[1])
        return found


def _taken(used: Array) -> Array:
    """Return shares of all resources as one number; used is (resources,) or (resources, ways)."""
    mean: Array = np.add.reduce(used**_POWER, axis=0) / len(used)
    return mean ** (1 / _POWER)
