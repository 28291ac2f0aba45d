"""A greedy mapper, as those of SAMO and fpgaConvNet: always the slowest layer next.

After Montgomerie-Corcoran et al., "SAMO: Optimised Mapping of Convolutional Neural Networks to
Streaming Architectures" (FPL 2022), and Venieris & Bouganis, "fpgaConvNet" (TNNLS 2018).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.many import Jury
from brpnas.devices.fpga.mapping.design import Design, Optimiser, Part, cut_places, reload_counts
from brpnas.devices.fpga.mapping.explain import too_large
from brpnas.devices.fpga.mapping.fill import Filler
from brpnas.devices.fpga.mapping.shares import utilisation
from brpnas.devices.fpga.partition import PartCosts, Segment
from brpnas.devices.fpga.problem import Problem

__all__ = ["Rule", "smallest_part"]

_LEVELS = 2  # latencies below a layer's own that are tried


class Rule(Optimiser):
    """Cuts the network wherever it can be cut, speeds up each part, then joins parts."""

    def map(self, problem: Problem) -> Design:
        """Return a design for a short time of a batch.

        Raises:
            UserError: a part does not fit even in its smallest form; says what is short.
        """
        places = cut_places(problem)
        parts = []
        for start, stop in pairwise(places):
            part = _quickest(problem, start, stop)
            if part is None:
                raise too_large(problem)
            parts.append(part)
        return Design(problem, tuple(_joined(problem, parts)))


def smallest_part(segment: Segment) -> Part | None:
    """Return a part in the form that takes least of the board; None: it does not fit."""
    part = Part(segment, Filler(segment).smallest()[0])
    return part if part.fits else None


def _joined(problem: Problem, parts: list[Part]) -> list[Part]:
    """Join neighbours, the slowest part's first, for as long as that saves time."""
    tried: dict[tuple[int, int], Part | None] = {}

    def seconds(parts: list[Part]) -> float:
        return problem.seconds([part.costs.cycles for part in parts])

    while True:
        now = seconds(parts)
        for at in sorted(range(len(parts)), key=lambda at: -parts[at].costs.cycles):
            better = None
            for first in (at - 1, at):
                if not 0 <= first < len(parts) - 1:
                    continue
                span = parts[first].segment.start, parts[first + 1].segment.stop
                if span not in tried:
                    tried[span] = _quickest(problem, *span)
                joint = tried[span]
                if joint:
                    candidate = [*parts[:first], joint, *parts[first + 2 :]]
                    if seconds(candidate) < now:
                        now, better = seconds(candidate), candidate
            if better:
                parts = better
                break
        else:
            return parts


def _quickest(problem: Problem, start: int, stop: int) -> Part | None:
    """Return a part that was sped up, its weights loaded once or several times."""
    best: Part | None = None
    for reloads in [1, *reload_counts(problem, start, stop)]:
        part = smallest_part(Segment(problem, start, stop, reloads))
        if part:
            part = _sped_up(part)
            if best is None or part.costs.cycles < best.costs.cycles:
                best = part
    return best


def _sped_up(part: Part) -> Part:
    """Speed up the slowest layer as long as there is room; return the best on the way.

    Of its next quicker foldings, the one is taken that leaves most room.
    """
    segment, best = part.segment, part
    jury = Jury(segment)
    choice, costs = np.array(part.choice), part.costs
    seen = {part.choice}
    while True:
        at, rows = _next(segment, choice, costs)
        choices = np.repeat(choice[None], len(rows), axis=0)
        choices[:, at] = rows
        judged = jury.judge(choices)
        # Not back to where it was, when layers that wait for memory and others take turns.
        good = judged.fits & (judged.interval <= costs.interval)
        good &= np.array([tuple(row) not in seen for row in choices.tolist()], dtype=bool)
        if not good.any():
            return best
        used = utilisation(judged.resources, segment.problem).sum(axis=1)
        used += judged.memory / judged.interval
        choice = choices[np.where(good, used, np.inf).argmin()]
        new = Part(segment, tuple(choice.tolist()))
        seen.add(new.choice)
        costs = new.costs
        if costs.cycles < best.costs.cycles:
            best = new


def _next(
    segment: Segment, choice: NDArray[np.intp], costs: PartCosts
) -> tuple[int, NDArray[np.intp]]:
    """Return the layer that holds the part up, and quicker ways to build it."""
    if costs.bound_by == "memory":  # the layer that streams in most weights
        bits = [float(way.weight_bits[row]) for way, row in zip(segment.ways, choice, strict=True)]
        at = int(np.argmax(bits))
        way = segment.ways[at]
        return at, np.flatnonzero((way.weight_bits < bits[at]) & (way.latency <= costs.interval))
    latency = [float(way.latency[row]) for way, row in zip(segment.ways, choice, strict=True)]
    at = int(np.argmax(latency))
    every = segment.ways[at].latency
    levels = np.unique(every[every < latency[at]])[-_LEVELS:]
    return at, np.flatnonzero(np.isin(every, levels))
