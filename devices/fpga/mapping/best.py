"""The project's own mapper: foldings by Lagrangian duals, cuts by dynamic programming.

Where to cut a network is a shortest path over the places where it can be cut; the length of an
edge is the time of the part between two places. Most parts need not be solved: a bound on their
time, from sums over layers of the least priced cost for a grid of intervals, stands for them until
a shortest path leads through them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.mapping.brute import Brute
from brpnas.devices.fpga.mapping.cuts import Span, shortest_path
from brpnas.devices.fpga.mapping.design import Design, Optimiser, Part, cut_places, reload_counts
from brpnas.devices.fpga.mapping.explain import too_large
from brpnas.devices.fpga.mapping.fill import Filler
from brpnas.devices.fpga.mapping.shares import Shares
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError

__all__ = ["Best"]

Array = NDArray[np.float64]

_GRID = 1.05  # from one interval of the bounds to the next
_FEW = 10**10  # designs in one part: Brute takes a fraction of a second
_BLOCKS = 200  # steps of that search, in which it is done on nearly all of such networks
_NEVER = 1e6  # times the board: what a layer takes that cannot keep an interval


class Best(Optimiser):
    """Solves parts by duals, and chooses cuts by shortest paths over bounds.

    Networks with few designs are searched exactly instead.

    Args:
        few: designs in one part up to which that is done.
    """

    def __init__(self, few: int = _FEW) -> None:
        self.few = few

    def map(self, problem: Problem) -> Design:
        """Return the best design found for the least time of a batch.

        Raises:
            UserError: nothing was found that the board has room for; says what is short.
        """
        ways = Segment(problem, 0, len(problem.network.nodes)).ways
        if math.prod(len(way) for way in ways) <= self.few:
            with contextlib.suppress(UserError):  # nothing found in time is no proof
                design = Brute(blocks=_BLOCKS).map(problem)
                if design.proven:
                    return design
        places = cut_places(problem)
        last = len(places) - 1
        whole = _Layers(problem, 0, places[-1])
        part = whole.part() if math.isfinite(whole.bound()) else None
        if part:
            design = Design(problem, (part,))
            if design.seconds <= problem.seconds([0, 0]):  # any cut costs more than all of it
                return design
        cycles = self._bounds(problem, places)
        cycles[0, last] = part.costs.cycles if part else math.inf
        spans: dict[Span, _Layers] = {}
        parts: dict[Span, Part | None] = {(0, last): part}
        while True:
            path = shortest_path(problem, len(places), cycles)
            if path is None:
                raise too_large(problem)
            # First the intervals, which nearly are the time of a large batch, then the depths.
            new = [place for place in path if place not in spans and place not in parts]
            if new:
                for place in new:
                    spans[place] = _Layers(problem, places[place[0]], places[place[1]])
                    cycles[place] = max(cycles[place], spans[place].bound())
                continue
            bounded = [place for place in path if place not in parts]
            if not bounded:
                return Design(problem, tuple(part for place in path if (part := parts[place])))
            for place in bounded:
                parts[place] = part = spans[place].part()
                cycles[place] = part.costs.cycles if part else math.inf

    def _bounds(self, problem: Problem, places: Sequence[int]) -> dict[Span, float]:
        """Return for each pair of places cycles that a part between them takes at least."""
        whole = Shares(Segment(problem, 0, len(problem.network.nodes)))
        prices = _prices(whole.shares.shape[1] + 1)
        spans = {
            (one, other): Segment(problem, places[one], places[other])
            for one in range(len(places) - 1)
            for other in range(one + 1, len(places))
        }
        fastest = np.minimum.reduceat(whole.latency, whole.starts)
        stretch = list(spans)
        first = np.array([spans[span].start for span in stretch])
        last = np.array([spans[span].stop for span in stretch])
        own = np.array([spans[span].memory_bits for span in stretch]) / problem.bits_per_cycle
        ports = [spans[span].port_interval for span in stretch]
        stretches = zip(first.tolist(), last.tolist(), strict=True)
        slowest = [float(fastest[one:other].max()) for one, other in stretches]
        interval = np.maximum(np.maximum(slowest, ports), own)
        low, high = float(interval.min()), float(whole.latency.max())
        steps = 2 + int(math.log(max(high / low, 2)) / math.log(_GRID))
        priced = whole.shares @ prices[:-1]
        left = np.ones(len(stretch), dtype=bool)
        for time in np.geomspace(low, max(high, low * 2), steps).tolist():
            rows = np.flatnonzero(whole.latency <= time)
            starts = np.searchsorted(whole.layer[rows], np.arange(len(whole.counts)))
            cost = priced[rows] + np.outer(whole.traffic[rows] / time, prices[-1])
            sums = np.full((len(whole.counts), prices.shape[1]), _NEVER)
            reached = np.diff(starts, append=len(rows)) > 0
            sums[reached] = np.minimum.reduceat(cost, starts[reached])
            total = np.concatenate([np.zeros((1, prices.shape[1])), np.cumsum(sums, axis=0)])
            needed = total[last] - total[first] + np.outer(own / time, prices[-1])
            left &= needed.max(axis=1) > 1
            interval[left] = np.maximum(interval[left], time)
            if not left.any():
                break
        found = {}
        for at, (span, segment) in enumerate(spans.items()):
            cycles = math.inf if left[at] else float(interval[at]) * problem.batch
            for reloads in reload_counts(problem, segment.start, segment.stop):
                again = Filler(Segment(problem, segment.start, segment.stop, reloads))
                cycles = min(cycles, again.least * reloads * problem.batch)
            found[span] = cycles
        return found


class _Layers:
    """The layers between two places, with weights loaded once or several times."""

    def __init__(self, problem: Problem, start: int, stop: int) -> None:
        self._problem = problem
        self._ways: list[tuple[float, Filler, tuple[int, ...]]] = []
        best = math.inf
        for reloads in [1, *reload_counts(problem, start, stop)]:
            filler = Filler(Segment(problem, start, stop, reloads))
            choice = filler.fastest(best / problem.batch / reloads)
            if choice:
                cycles = filler.interval(choice) * problem.batch * reloads
                self._ways.append((cycles, filler, choice))
                best = min(best, cycles)

    def bound(self) -> float:
        """Return the cycles of a batch by the shortest interval found, without the depth."""
        return min((cycles for cycles, _, _ in self._ways), default=math.inf)

    def part(self) -> Part | None:
        """Return the part that is done first, if one was found that fits."""
        best: Part | None = None
        for cycles, filler, choice in sorted(self._ways, key=lambda way: way[0]):
            most = best.costs.cycles if best else math.inf
            if cycles < most:
                found = filler.quickest(choice, most / filler.segment.reloads)
                if found:
                    part = Part(filler.segment, found[0])
                    best = part if part.costs.cycles < most else best
        return best


def _prices(resources: int) -> Array:
    """Return vectors of prices for the bounds, (resources, vectors): each sums up to 1."""
    alone = np.eye(resources)
    pairs = [(alone[one] + alone[other]) / 2 for one in range(resources) for other in range(one)]
    memory = alone[-3:].mean(axis=0)  # block RAM, UltraRAM and bandwidth stand for each other
    return np.stack([*alone, *pairs, memory, alone.mean(axis=0)], axis=1)
