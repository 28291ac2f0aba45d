"""A network mapped to a board: its parts, each with a folding for every layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from brpnas.devices.fpga.partition import PartCosts, Segment
from brpnas.devices.fpga.problem import Problem

__all__ = ["Design", "Optimiser", "Part", "cut_places", "reload_counts"]

_MOST_RELOADS = 64


@dataclass(frozen=True)
class Part:
    """Layers that are on the board at the same time.

    Attributes:
        segment: the layers.
        choice: a row of ``segment.ways`` for each.
    """

    segment: Segment
    choice: tuple[int, ...]

    @cached_property
    def costs(self) -> PartCosts:
        """What the part costs."""
        return self.segment.judge(self.choice)

    @property
    def fits(self) -> bool:
        """Whether the board has room for it."""
        return self.segment.fits(self.costs)


@dataclass(frozen=True)
class Design:
    """A network mapped to a board.

    Attributes:
        problem: what was to be mapped, on what.
        parts: run after each other, the board is loaded with one at a time.
        proven: whether no better design exists in the space that was searched.
        command: that made it; empty if none did.
    """

    problem: Problem
    parts: tuple[Part, ...]
    proven: bool = False
    command: str = ""

    @property
    def fits(self) -> bool:
        """Whether the board has room for every part."""
        return all(part.fits for part in self.parts)

    @property
    def seconds(self) -> float:
        """Seconds that a batch takes."""
        return self.problem.seconds([part.costs.cycles for part in self.parts])

    @property
    def frames_per_second(self) -> float:
        """Images per second, over a whole batch."""
        return self.problem.batch / self.seconds


class Optimiser(ABC):
    """Finds a design. Add one by writing a subclass."""

    @abstractmethod
    def map(self, problem: Problem) -> Design:
        """Return the best design found for the least time of a batch.

        For latency the batch is one image, for throughput it is large.

        Raises:
            UserError: nothing was found that the board has room for; says what is short.
        """


def cut_places(problem: Problem) -> Sequence[int]:
    """Return where a network may be cut into parts: places of layers that a part may start at.

    Before layers with weights and where branches begin or meet: layers between follow the one
    before them.
    """
    starts = ("convolution", "inner_product", "split", "eltwise", "concat")
    nodes = problem.network.nodes
    places = [at for at, node in enumerate(nodes) if at and node.kind in starts]
    return [0, *places, len(nodes)]


def reload_counts(problem: Problem, start: int, stop: int) -> list[int]:
    """Return how often weights of a part could be loaded, above once.

    Only for parts with a single layer of weights: all that is before that layer is computed again.
    """
    nodes = problem.network.nodes[start:stop]
    weighted = [node for node in nodes if node.weights]
    if len(weighted) != 1 or weighted[0].sizes.get("groups", 1) > 1:
        return []
    if Segment(problem, start, stop).reload_layer() is None:
        return []
    filters = weighted[0].sizes["filters"]
    return [n for n in range(2, _MOST_RELOADS + 1) if filters % n == 0]
