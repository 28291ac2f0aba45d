"""What layers and squeezes take of a board, as shares of it."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import LOGIC_MARGIN, LUTS_PER_BLOCK, Problem
from brpnas.devices.fpga.squeezes import squeeze_table

__all__ = ["Shares", "utilisation"]

Array = NDArray[np.float64]


def utilisation(resources: Array, problem: Problem) -> Array:
    """Return shares of the board: of DSP, LUT, FF, of block RAM and LUTs together, of URAM.

    Blocks can be built of LUTs, so a design fits if each of these is at most 1.

    Args:
        resources: (..., 5), in the order of ``RESOURCES``.
        problem: with the limits.

    Returns:
        Of shape (..., 5).
    """
    return _utilisation(resources, tuple(problem.limits.tolist()))


def _utilisation(resources: Array, limits: tuple[float, ...]) -> Array:
    dsp, bram, lut, ff, uram = np.moveaxis(resources, -1, 0)
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


@lru_cache(maxsize=16384)
def _squeezes(
    ones: tuple[int, ...], others: tuple[int, ...], width: int, limits: tuple[float, ...]
) -> Array:
    """Return the shares of squeezes, none of it of the memory's traffic, (from, to, resources)."""
    shares = _utilisation(squeeze_table(ones, others, width), limits)
    return np.concatenate([shares, np.zeros((*shares.shape[:2], 1))], axis=2)


class Shares:
    """What each way to build each layer of a part takes of the board.

    Args:
        segment: the part.

    Attributes:
        latency: of all ways of all layers behind each other, (rows,).
        shares: of the board, (rows, 5).
        traffic: of the board's memory, times the interval: cycles that the weights of an image
            take to stream in, (rows,).
        own_traffic: the same for the feature maps that are read and written.
        counts, starts: how many rows are of a layer, and which is its first, (layers,).
        layer: which has a row, (rows,).
    """

    def __init__(self, segment: Segment) -> None:
        self.segment, self.problem = segment, segment.problem
        ways = segment.ways
        self.latency = np.concatenate([way.latency for way in ways])
        self.shares = utilisation(np.concatenate([way.resources for way in ways]), self.problem)
        bits = np.concatenate([way.weight_bits for way in ways])
        self.traffic = bits / self.problem.bits_per_cycle
        self.own_traffic = segment.memory_bits / self.problem.bits_per_cycle
        self.counts = np.array([len(way) for way in ways])
        self.starts = np.cumsum(self.counts) - self.counts
        self.layer = np.repeat(np.arange(len(ways)), self.counts)
        self._limits = tuple(self.problem.limits.tolist())
        self._beside: dict[tuple[int, int | None, int | None], Array] = {}

    @cached_property
    def chains(self) -> list[list[int]]:
        """Places of layers that follow each other without a branch; each is in one chain."""
        segment = self.segment
        found: list[list[int]] = []
        chain_of: dict[int, list[int]] = {}
        for at in range(len(segment.nodes)):
            before = segment.before[at]
            if len(before) == 1 and len(segment.after[before[0]]) == 1:
                chain = chain_of[before[0]]
                chain.append(at)
            else:
                chain = [at]
                found.append(chain)
            chain_of[at] = chain
        return found

    def between(self, first: int, second: int) -> Array:
        """Return the shares of the squeezes between two layers, (ports, ports, resources)."""
        ways = self.segment.ways
        ones, others = ways[first].ports_out[0], ways[second].ports_in[0]
        width = self.problem.words.data
        return _squeezes(tuple(ones.tolist()), tuple(others.tolist()), width, self._limits)

    def squeeze(self, one: int, other: int) -> Array:
        """Return the shares of a squeeze between so many streams, (resources,)."""
        found: Array = _squeezes((one,), (other,), self.problem.words.data, self._limits)[0, 0]
        return found

    def beside(self, at: int, before: int | None, after: int | None) -> Array:
        """Return the shares of a squeeze beside a layer, for each way to build it.

        Args:
            at: place of the layer.
            before: streams of the neighbour before it; None: the squeeze is behind it. Below 0: of
                the board's memory, which has at most so many, and as many as the layer has.
            after: the same of the neighbour behind it.

        Returns:
            Of shape (ways, resources).
        """
        key = at, before, after
        found = self._beside.get(key)
        if found is None:
            way = self.segment.ways[at]
            streams, which = way.ports_out if before is None else way.ports_in
            rows = []
            for own in streams.tolist():
                other = before or after or 0
                other = min(own, -other) if other < 0 else other
                one, behind = (own, other) if before is None else (other, own)
                rows.append(self.squeeze(one, behind))
            found = self._beside[key] = np.array(rows)[which]
        return found
