"""What is to be mapped on what: a network, a board, and how much of it a design may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.foldings import RESOURCES, Foldings, Words, foldings_of
from brpnas.devices.fpga.network import Network, Node
from brpnas.devices.fpga.platform import Platform

__all__ = ["LOGIC_MARGIN", "LUTS_PER_BLOCK", "Problem"]

Array = NDArray[np.float64]

LOGIC_MARGIN = 0.05
"""LUTs and flip-flops are estimates: designs leave this share above them free."""
LUTS_PER_BLOCK = 288
"""What a block of memory takes when it is built of LUTs instead (the reference's figure)."""


@dataclass(frozen=True)
class Problem:
    """What is to be mapped on what.

    Attributes:
        network: the layers.
        platform: the board.
        words: bits of the numbers.
        batch: images that are computed before the board is loaded with the next part.
        margin: share of every resource that stays free.
        reference_exact: count as the reference does where it is odd.
    """

    network: Network
    platform: Platform
    words: Words = field(default_factory=Words)
    batch: int = 256
    margin: float = 0.0
    reference_exact: bool = False
    _foldings: dict[object, Foldings] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def limits(self) -> Array:
        """What designs may take, (5,) in the order of ``RESOURCES``."""
        counts = [self.platform.resources[name] for name in RESOURCES]
        return np.array(counts) * (1 - self.margin)

    @property
    def bits_per_cycle(self) -> float:
        """What the board's memory gives and takes."""
        return self.platform.memory_gbit_per_s * 1000 / self.platform.clock_mhz * (1 - self.margin)

    @property
    def port_streams(self) -> int:
        """Words that enter, and as many that leave, in a cycle."""
        return max(1, self.platform.port_width // self.words.data)

    def foldings(self, node: Node) -> Foldings:
        """Return the ways to build a layer that do not take more than the whole board."""
        key = _key(node)
        found = self._foldings.get(key)
        if found is None:
            found = self._foldings[key] = self._fitting(key, node)
        return found

    def _fitting(self, key: object, node: Node) -> Foldings:
        ways = _ways(
            key, node, self.words, self.reference_exact, self.platform.resources["URAM"] > 0
        )
        if not self.reference_exact:  # a layer whose weights stream in waits for them
            streaming = ways.weight_bits / self.bits_per_cycle
            ways = replace(ways, latency=np.maximum(ways.latency, streaming))
        fits = (ways.resources[:, [0, 4]] <= self.limits[[0, 4]]).all(axis=1)
        fits &= (ways.resources[:, 2] <= self.limits[2]) & (ways.resources[:, 3] <= self.limits[3])
        # If none fits, the smallest: what it needs can be said.
        return ways.kept(fits) if fits.any() else ways

    def needs(self, resources: Array) -> Array:
        """Return what has to be free for a design, (..., 5): logic with its margin.

        A shortage of block RAM is made up by LUTs.
        """
        needed = resources.copy()
        needed[..., 2:4] *= 1 + LOGIC_MARGIN
        short = np.ceil(np.maximum(needed[..., 1] - self.limits[1], 0))
        needed[..., 1] -= short
        needed[..., 2] += LUTS_PER_BLOCK * short
        return needed

    def seconds(self, cycles: Sequence[float]) -> float:
        """Return the time of a batch through parts of so many cycles each."""
        loads = len(cycles) - 1
        if self.reference_exact and loads:
            loads += 1
        computing = sum(cycles) / (self.platform.clock_mhz * 1e6)
        return computing + loads * self.platform.reconfiguration_s


def _key(node: Node) -> tuple[object, ...]:
    """Return what the ways to build a layer depend on."""
    return (node.kind, node.output, *sorted(node.sizes.items()))


# The layers of a network repeat, and so do those of similar networks.
_CACHE: dict[object, Foldings] = {}
_CACHED = 4096


def _ways(key: object, node: Node, words: Words, reference_exact: bool, uram: bool) -> Foldings:
    whole = (key, words, reference_exact, uram)
    found = _CACHE.get(whole)
    if found is None:
        if len(_CACHE) >= _CACHED:
            _CACHE.clear()
        found = _CACHE[whole] = foldings_of(node, words, reference_exact, uram)
    return found
