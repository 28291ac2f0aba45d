"""Many designs of one part at once: what ``Segment.judge`` says, for a table of choices."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.squeezes import squeeze_costs, squeeze_table

__all__ = ["Jury", "ManyCosts"]

Array = NDArray[np.float64]
Choices = NDArray[np.intp]

_BLOCK = 2048  # rows at a time: what a block needs stays in the processor's cache


class ManyCosts(NamedTuple):
    """What designs of a part cost; see ``PartCosts``.

    Attributes:
        interval: cycles from one image to the next, (designs,).
        depth: cycles that the first image takes beyond an interval, (designs,).
        cycles: of a whole batch, (designs,).
        resources: estimates, (designs, 5) in the order of ``RESOURCES``.
        memory: cycles that the board's memory needs for an image, (designs,).
        fits: whether the board has room, (designs,).
    """

    interval: Array
    depth: Array
    cycles: Array
    resources: Array
    memory: Array
    fits: NDArray[np.bool_]


class Jury:
    """Judges designs of a part by tables that are made once.

    Args:
        segment: the part.

    Attributes:
        ports: for each layer that reads from memory or writes to it its place, and for each way
            to build it what its ports take, (ways, 5), and the cycles of an image, (ways,).
    """

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        width = segment.problem.words.data
        self._edges = []
        for first, second in segment.edges:
            outs, which_out = segment.ways[first].ports_out
            ins, which_in = segment.ways[second].ports_in
            table = squeeze_table(tuple(outs.tolist()), tuple(ins.tolist()), width)
            words = math.prod(segment.nodes[first].output)
            cycles = np.where(outs[:, None] == ins, 0, words / np.minimum(outs[:, None], ins))
            self._edges.append((first, second, which_out, which_in, table, cycles))
        self.ports = self._port_tables()

    def _port_tables(self) -> list[tuple[int, Array, Array]]:
        """Return for each layer at the memory what its ports take and cycles, for each way."""
        segment, width = self.segment, self.segment.problem.words.data
        found = []
        for at in sorted({*segment.sources, *segment.sinks}):
            way = segment.ways[at]
            ports, which = np.unique(
                np.stack([way.streams_in, way.streams_out], axis=1), axis=0, return_inverse=True
            )
            resources, cycles = np.zeros((len(ports), 5)), np.zeros(len(ports))
            choice = [0] * len(segment.ways)
            for place in range(len(ports)):
                choice[at] = int(np.flatnonzero(which == place)[0])
                for first, second, one, other in segment.squeezes(choice):
                    if (first, second) == (-1, at):
                        words = segment.words_in(at) / one
                    elif (first, second) == (at, -1):
                        words = math.prod(segment.nodes[at].output) / other
                    else:
                        continue
                    resources[place] += squeeze_costs(one, other, width)
                    cycles[place] = max(cycles[place], words)
            found.append((at, resources[which], cycles[which]))
        return found

    def judge(self, choices: Choices) -> ManyCosts:
        """Say what designs cost.

        Args:
            choices: a row of ``segment.ways`` for each layer, (designs, layers).
        """
        starts = range(0, max(1, len(choices)), _BLOCK)
        blocks = [self._block(choices[start : start + _BLOCK]) for start in starts]
        return ManyCosts(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))

    def _block(self, choices: Choices) -> ManyCosts:
        segment, problem = self.segment, self.segment.problem
        rows = np.ascontiguousarray(choices.T)  # (layers, designs)
        picked = segment.picked(list(rows))
        compute = np.zeros(len(choices))
        for one in picked:
            compute = np.maximum(compute, one.latency)
        bits = np.full(len(choices), segment.memory_bits)
        resources = np.zeros((len(choices), 5))
        for way, row in zip(segment.ways, rows, strict=True):
            resources += way.resources[row]
            if way.node.weights:
                bits += way.weight_bits[row]
        for first, second, which_out, which_in, table, cycles in self._edges:
            pair = which_out[rows[first]], which_in[rows[second]]
            resources += table[pair]
            compute = np.maximum(compute, cycles[pair])
        for at, taken, cycles in self.ports:
            resources += taken[rows[at]]
            compute = np.maximum(compute, cycles[rows[at]])
        for blocks in segment.queue_blocks(picked).values():
            resources[:, 1] += blocks
        memory = bits / problem.bits_per_cycle
        interval = np.ceil(np.maximum(compute, memory))
        depth = np.broadcast_to(segment.timing.depth(picked, interval), interval.shape)
        cycles = segment.cycles(interval, depth)
        fits: NDArray[np.bool_] = np.all(problem.needs(resources) <= problem.limits, axis=1)
        return ManyCosts(interval, depth, cycles, resources, memory, fits)
