"""Simulated annealing over foldings, cuts and reloads, as in fpgaConvNet and SAMO.

A step changes one thing at random, and is kept if a batch takes less time, or else with a
probability that falls with the loss and with the temperature (Kirkpatrick et al., Science 1983).
The loss is relative, so that temperatures do not depend on the network; what does not fit is never
kept; the best state on the way is what is returned.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np

from brpnas.devices.fpga.mapping.design import Design, Optimiser, Part, cut_places, reload_counts
from brpnas.devices.fpga.mapping.explain import too_large
from brpnas.devices.fpga.mapping.rule import smallest_part
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem

__all__ = ["Annealing"]

_HOT, _COLD = 0.5, 0.0005  # a loss of so much of the time is kept with probability 1/e
_CUTS, _RELOADS = 0.1, 0.05  # of the steps; the others change a folding
_KEPT = 0.5  # of the parts that are cut anew, those that keep their foldings


class Annealing(Optimiser):
    """Changes a design at random, less and less for the worse.

    Args:
        seed: of the random changes.
        steps: how many are tried.
        time_limit_s: stops before the steps are done; None: never.
    """

    def __init__(
        self, seed: int = 0, steps: int = 20000, time_limit_s: float | None = None
    ) -> None:
        self.seed, self.steps, self.time_limit_s = seed, steps, time_limit_s

    def map(self, problem: Problem) -> Design:
        """Return the best design that was seen.

        Raises:
            UserError: a part does not fit even in its smallest form; says what is short.
        """
        limit = math.inf if self.time_limit_s is None else self.time_limit_s
        deadline = time.monotonic() + limit
        walk = _Walk(problem, np.random.default_rng(self.seed))
        parts = walk.start()
        best, best_seconds = parts, walk.seconds(parts)
        seconds = best_seconds
        for step in range(self.steps):
            if time.monotonic() > deadline:
                break
            changed = walk.changed(parts)
            if changed is None:
                continue
            temperature = _HOT * (_COLD / _HOT) ** (step / self.steps)
            new = walk.seconds(changed)
            loss = math.log(new / seconds)
            if loss <= 0 or walk.rng.random() < math.exp(-loss / temperature):
                parts, seconds = changed, new
                if seconds < best_seconds:
                    best, best_seconds = parts, seconds
        return Design(problem, tuple(best))


class _Walk:
    """Random changes of a design."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self.problem, self.rng = problem, rng
        self.places = cut_places(problem)
        self._smallest: dict[tuple[int, int, int], Part | None] = {}

    def start(self) -> list[Part]:
        """Return the design with all cuts, every part in its smallest form."""
        parts = [self._smallest_of(start, stop) for start, stop in pairwise(self.places)]
        found = [part for part in parts if part]
        if len(found) < len(parts):
            raise too_large(self.problem)
        return found

    def seconds(self, parts: list[Part]) -> float:
        """Return the seconds that a batch takes."""
        return self.problem.seconds([part.costs.cycles for part in parts])

    def changed(self, parts: list[Part]) -> list[Part] | None:
        """Return a neighbour of a design; None: what was tried does not fit or changes nothing."""
        kind = self.rng.random()
        if kind < _CUTS:
            return self._cut(parts)
        at = int(self.rng.integers(len(parts)))
        part = self._reload(parts[at]) if kind < _CUTS + _RELOADS else self._fold(parts[at])
        return [*parts[:at], part, *parts[at + 1 :]] if part else None

    def _fold(self, part: Part) -> Part | None:
        """Fold one layer anew."""
        ways = part.segment.ways
        at = int(self.rng.integers(len(ways)))
        row = int(self.rng.integers(len(ways[at])))
        choice = (*part.choice[:at], row, *part.choice[at + 1 :])
        return _fitting(Part(part.segment, choice)) if row != part.choice[at] else None

    def _reload(self, part: Part) -> Part | None:
        """Load the weights of a part more or less often, in its smallest form."""
        segment = part.segment
        counts = [1, *reload_counts(self.problem, segment.start, segment.stop)]
        reloads = int(self.rng.choice(counts))
        if reloads == segment.reloads:
            return None
        found = self._smallest_of(segment.start, segment.stop, reloads)
        return self._keeping(found, [part]) if found else None

    def _cut(self, parts: list[Part]) -> list[Part] | None:
        """Add a cut or take one away."""
        inner = self.places[1:-1]
        if not inner:
            return None
        place = int(self.rng.choice(inner))
        at = max(at for at, part in enumerate(parts) if part.segment.start <= place)
        if parts[at].segment.start == place:
            old = parts[at - 1 : at + 1]
            spans = [(old[0].segment.start, old[1].segment.stop)]
        else:
            old = parts[at : at + 1]
            spans = [(old[0].segment.start, place), (place, old[0].segment.stop)]
        new = [self._smallest_of(start, stop) for start, stop in spans]
        kept = [self._keeping(part, old) for part in new if part]
        if len(kept) < len(spans):
            return None
        at = parts.index(old[0])
        return [*parts[:at], *kept, *parts[at + len(old) :]]

    def _keeping(self, part: Part, old: list[Part]) -> Part:
        """Return a part with the foldings that its layers had in others, if it fits and by chance.

        Only of layers that are still the same: those of a part whose weights are loaded again are
        smaller.
        """
        if self.rng.random() > _KEPT:
            return part
        rows = {
            node.name: (node, row)
            for one in old
            for node, row in zip(one.segment.nodes, one.choice, strict=True)
        }
        choice = [
            rows[node.name][1] if rows[node.name][0] == node else row
            for node, row in zip(part.segment.nodes, part.choice, strict=True)
        ]
        return _fitting(Part(part.segment, tuple(choice))) or part

    def _smallest_of(self, start: int, stop: int, reloads: int = 0) -> Part | None:
        """Return layers as a part in its smallest form; 0 reloads: the least with which it fits."""
        key = start, stop, reloads
        if key not in self._smallest:
            counts = [reloads] if reloads else [1, *reload_counts(self.problem, start, stop)]
            found = (smallest_part(Segment(self.problem, start, stop, n)) for n in counts)
            self._smallest[key] = next((part for part in found if part), None)
        return self._smallest[key]


def _fitting(part: Part) -> Part | None:
    return part if part.fits else None
