"""The best design there is, with proof, where the network is small enough."""

from __future__ import annotations

import contextlib
import math

from brpnas.devices.fpga.mapping.bounded import Budget, OutOfTime, Quickest
from brpnas.devices.fpga.mapping.cuts import Span, shortest_path
from brpnas.devices.fpga.mapping.design import Design, Optimiser, Part, cut_places, reload_counts
from brpnas.devices.fpga.mapping.explain import too_large
from brpnas.devices.fpga.mapping.rule import Rule
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError

__all__ = ["Brute"]


class Brute(Optimiser):
    """Searches all foldings, cuts and reloads, and leaves out only what cannot be better.

    Args:
        time_limit_s: stops the search, which then proves nothing; None: never.
        blocks: the same in units of work, about a hundredth of a second each, so that the design
            does not depend on the machine; None: no limit.
    """

    def __init__(self, time_limit_s: float | None = None, blocks: int | None = None) -> None:
        self.time_limit_s, self.blocks = time_limit_s, blocks

    def map(self, problem: Problem) -> Design:
        """Return the best design for the least time of a batch.

        Raises:
            UserError: there is none that the board has room for, or none was found in time.
        """
        seconds, blocks = (
            math.inf if limit is None else limit for limit in (self.time_limit_s, self.blocks)
        )
        search = _Search(problem, Budget(seconds, blocks))
        try:
            search.run()
        except OutOfTime:
            if search.best is None:
                raise UserError(
                    f"no design of '{problem.network.name}' for {problem.platform.name} was found "
                    "in time; accepted: a longer time limit, or another optimiser"
                ) from None
            return search.best
        if search.best is None:
            raise too_large(problem)
        return Design(problem, search.best.parts, proven=True)


class _Search:
    """Shortest paths over bounds of the parts' times, which parts on the way make exact."""

    def __init__(self, problem: Problem, budget: Budget) -> None:
        self.problem, self.budget = problem, budget
        self.places = cut_places(problem)
        self.best: Design | None = None
        self.parts: dict[Span, Part] = {}

    def run(self) -> None:
        """Find the best design.

        Raises:
            OutOfTime: there was not enough; ``best`` is what was found.
        """
        with contextlib.suppress(UserError):  # that it found none is no proof
            self.best = Rule().map(self.problem)
        count = len(self.places)
        cycles = {
            (one, other): self._least((one, other))
            for one in range(count - 1)
            for other in range(one + 1, count)
        }
        while path := shortest_path(self.problem, count, cycles):
            seconds = self.problem.seconds([cycles[span] for span in path])
            slack = self.best.seconds - seconds if self.best else math.inf
            if slack <= 1e-12 * seconds:
                return
            unknown = [span for span in path if span not in self.parts]
            if not unknown:
                self.best = Design(self.problem, tuple(self.parts[span] for span in path))
                return
            span = unknown[0]
            below = cycles[span] + slack * self.problem.platform.clock_mhz * 1e6
            part = self._solve(span, below)
            cycles[span] = part.costs.cycles if part else below
            if part:
                self.parts[span] = part

    def _segments(self, span: Span) -> list[Segment]:
        start, stop = self.places[span[0]], self.places[span[1]]
        counts = [1, *reload_counts(self.problem, start, stop)]
        return [Segment(self.problem, start, stop, reloads) for reloads in counts]

    def _least(self, span: Span) -> float:
        """Return cycles that a part takes at least."""
        return min(
            segment.reloads
            * self.problem.batch
            * max(
                segment.memory_bits / self.problem.bits_per_cycle,
                *(float(way.latency.min()) for way in segment.ways),
            )
            for segment in self._segments(span)
        )

    def _solve(self, span: Span, below: float) -> Part | None:
        """Return the quickest part that takes less than so many cycles."""
        best: Part | None = None
        for segment in self._segments(span):
            search = Quickest(segment, self.budget)
            try:
                choice = search.below(best.costs.cycles if best else below)
            except OutOfTime:
                if search.best and span == (0, len(self.places) - 1):
                    self.best = Design(self.problem, (Part(segment, search.best),))
                raise
            if choice:
                best = Part(segment, choice)
        return best
