"""A part of a network as one design on an FPGA: how fast it is and what it takes.

After fpgaConvNet (Venieris & Bouganis, FCCM 2016; TNNLS 2018): every layer is a circuit of its
own, words stream through all of them at once, and the slowest sets the interval. Where neighbours
have different numbers of streams, a squeeze is between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.foldings import Picked, Rows, reloaded
from brpnas.devices.fpga.memory import fifo_blocks
from brpnas.devices.fpga.network import INPUT, Node
from brpnas.devices.fpga.problem import Problem
from brpnas.devices.fpga.squeezes import squeeze_costs
from brpnas.devices.fpga.timing import Flow, PhysicalTiming, ReferenceTiming, Timing

__all__ = ["WAITING", "PartCosts", "Segment"]

Array = NDArray[np.float64]

_PORT_WORDS = 2
_SPARE_WORDS = 64  # of a queue that waits for another branch, as in the reference
WAITING = ("eltwise", "concat")
"""Layers that wait for all of their inputs."""
_ALL_CHANNELS = ("split", "pad_channels", *WAITING)
"""Layers that cannot compute some of their channels at a time."""


@dataclass(frozen=True)
class PartCosts:
    """What a part of a network costs.

    Attributes:
        interval: cycles from one image to the next, with the wait for memory.
        compute_interval: the same if memory were never waited for.
        depth: cycles that the first image takes beyond an interval.
        cycles: of a whole batch.
        resources: estimates, (5,) in the order of ``RESOURCES``.
        gbit_per_s: what the design reads and writes.
        bound_by: the layer that sets the interval, or ``"memory"``, ``"input"``, ``"output"``.
    """

    interval: float
    compute_interval: float
    depth: float
    cycles: float
    resources: Array
    gbit_per_s: float
    bound_by: str


class Segment:
    """Layers of a network that follow each other, as one part.

    Args:
        problem: what is to be mapped.
        start, stop: of the layers, places in the order of the network.
        reloads: how often weights of the last layer that has some are loaded for one batch; a
            part of its filters at a time is computed, by as many passes over the input.

    Raises:
        ValueError: ``reloads`` does not divide what it has to.

    Attributes:
        nodes: the layers, as they are computed in one pass.
        ways: the foldings of each.
        edges: pairs of places in ``nodes``: whose output goes to whom.
        sources: place of a layer that reads from memory, once for each input that it reads.
        sinks: places of layers that write to memory.
        timing: when words leave the layers.
    """

    def __init__(self, problem: Problem, start: int, stop: int, reloads: int = 1) -> None:
        network = problem.network
        self.problem, self.start, self.stop, self.reloads = problem, start, stop, reloads
        self.nodes: list[Node] = list(network.nodes[start:stop])
        place = {node.name: at for at, node in enumerate(self.nodes)}
        self.edges = [
            (place[name], at)
            for at, node in enumerate(self.nodes)
            for name in node.inputs
            if name in place
        ]
        self.sources = [
            at
            for at, node in enumerate(self.nodes)
            for name in node.inputs
            if name == INPUT or name not in place
        ]
        outside = {at for at, node in enumerate(self.nodes) if not network.consumers(node.name)}
        outside |= {
            at
            for at, node in enumerate(self.nodes)
            if any(name not in place for name in network.consumers(node.name))
        }
        self.sinks = sorted(outside)
        self.reload_words = 0
        if reloads > 1:
            self._reload(reloads)
        self.ways = [problem.foldings(node) for node in self.nodes]
        self.before: list[list[int]] = [[] for _ in self.nodes]
        self.after: list[list[int]] = [[] for _ in self.nodes]
        for first, second in self.edges:
            self.before[second].append(first)
            self.after[first].append(second)
        whole = [ways.whole for ways in self.ways]
        arrival = max(self.port_interval, self.memory_bits / problem.bits_per_cycle)
        flow = Flow(self.before, whole, self.sources[0], arrival)
        timing = ReferenceTiming if problem.reference_exact else PhysicalTiming
        self.timing: Timing = timing(flow)

    def reload_layer(self) -> int | None:
        """Return the place of the layer whose weights can be loaded several times, if any.

        It is the last that has weights, on the way back from a single output over layers that have
        one input and one output.
        """
        if len(self.sinks) != 1:
            return None
        at, previous = self.sinks[0], {second: first for first, second in self.edges}
        while not self.nodes[at].weights:
            if self.nodes[at].kind in _ALL_CHANNELS or at not in previous:
                return None
            at = previous[at]
        return at

    def _reload(self, times: int) -> None:
        layer = self.reload_layer()
        if layer is None:
            raise ValueError("no layer whose weights could be loaded again")
        sizes = self.nodes[layer].sizes
        if sizes.get("groups", 1) > 1 or sizes["filters"] % times:
            raise ValueError(f"{times} does not divide the filters of '{self.nodes[layer].name}'")
        for at in range(layer, len(self.nodes)):
            self.nodes[at] = reloaded(self.nodes[at], times, at > layer)
        self.reload_words = self.nodes[layer].weights

    @cached_property
    def memory_bits(self) -> float:
        """Bits of feature maps that are read and written for one image, in one pass."""
        read = sum(self.words_in(at) for at in self.sources)
        written = sum(math.prod(self.nodes[at].output) for at in self.sinks)
        return float((read + written) * self.problem.words.data)

    def words_in(self, at: int) -> int:
        """Return the words of the feature map that a layer takes, of a concat the largest."""
        sizes = self.nodes[at].sizes
        channels = sizes["channels"]
        if isinstance(channels, tuple):
            channels = max(channels)
        return int(sizes["rows"] * sizes["cols"] * channels)

    @cached_property
    def port_interval(self) -> float:
        """Cycles that it takes at least to get an image in and the result out."""
        streams_in, streams_out = self.port_streams
        least = [0.0]
        least += [
            self.words_in(at) / _largest_divisor(self._channels_in(at), streams_in)
            for at in self.sources
        ]
        least += [
            math.prod(self.nodes[at].output)
            / _largest_divisor(self.nodes[at].output[2], streams_out)
            for at in self.sinks
        ]
        return max(least)

    @property
    def port_streams(self) -> tuple[int, int]:
        """Streams that each layer that reads from memory, and each that writes to it, has."""
        ports = self.problem.port_streams
        return max(1, ports // max(1, len(self.sources))), max(1, ports // max(1, len(self.sinks)))

    def _channels_in(self, at: int) -> int:
        channels = self.nodes[at].sizes["channels"]
        return math.gcd(*channels) if isinstance(channels, tuple) else channels

    def squeezes(self, choice: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
        """Yield where streams are adapted: from and to which layer (-1: memory), and how many."""
        ways = self.ways
        for first, second in self.edges:
            one = int(ways[first].streams_out[choice[first]])
            other = int(ways[second].streams_in[choice[second]])
            if one != other:
                yield first, second, one, other
        streams_in, streams_out = self.port_streams
        for at in self.sources:
            own = int(ways[at].streams_in[choice[at]])
            if own > streams_in:
                yield -1, at, _largest_divisor(self._channels_in(at), streams_in), own
        for at in self.sinks:
            own = int(ways[at].streams_out[choice[at]])
            if own > streams_out:
                yield at, -1, own, _largest_divisor(self.nodes[at].output[2], streams_out)

    def buffers(self, choice: Sequence[int]) -> dict[tuple[int, int], int]:
        """Return the words that queues hold where branches meet, by layer and who fills them."""
        return {place: int(words) for place, words in self.queues(self.picked(choice)).items()}

    def queues(self, rows: Sequence[Picked]) -> dict[tuple[int, int], Array | float]:
        """Return the same for the way to build each layer, some of them several side by side."""
        found: dict[tuple[int, int], Array | float] = {}
        meeting = []
        for at, node in enumerate(self.nodes):
            if node.kind not in WAITING:
                continue
            if len(self.before[at]) > 1:  # what comes from memory can wait there
                meeting.append(at)
            else:
                found.update({(at, before): float(_PORT_WORDS) for before in self.before[at]})
        if meeting:
            for place, words in self.timing.waiting(rows, meeting).items():
                found[place] = np.ceil(words) + _SPARE_WORDS
        return found

    def queue_blocks(self, rows: Sequence[Picked]) -> dict[tuple[int, int], Array | float]:
        """Return the blocks of 18 Kbit that these queues take, all streams together."""
        width = np.array(float(self.problem.words.data))
        return {
            (at, before): rows[at].streams_in * fifo_blocks(np.asarray(words, np.float64), width)
            for (at, before), words in self.queues(rows).items()
        }

    def picked(self, choice: Sequence[Rows]) -> list[Picked]:
        """Return the ways that are chosen, one for each layer or several side by side."""
        return [ways.picked(row) for ways, row in zip(self.ways, choice, strict=True)]

    def judge(self, choice: Sequence[int]) -> PartCosts:
        """Say what the part costs.

        Args:
            choice: a row of ``ways`` for each layer.
        """
        problem = self.problem
        rows = list(zip(self.ways, choice, strict=True))
        latency = [float(ways.latency[row]) for ways, row in rows]
        slowest = max(range(len(latency)), key=latency.__getitem__)
        compute, bound_by = latency[slowest], self.nodes[slowest].name
        resources = np.sum([ways.resources[row] for ways, row in rows], axis=0)
        for first, second, one, other in self.squeezes(choice):
            resources = resources + squeeze_costs(one, other, problem.words.data)
            if first >= 0 and second >= 0:
                cycles = math.prod(self.nodes[first].output) / min(one, other)
                if cycles > compute:
                    compute, bound_by = cycles, self.nodes[second].name
            elif first < 0:
                cycles = self.words_in(second) / one
                if cycles > compute:
                    compute, bound_by = cycles, "input"
            else:
                cycles = math.prod(self.nodes[first].output) / other
                if cycles > compute:
                    compute, bound_by = cycles, "output"
        picked = self.picked(choice)
        resources[1] += sum(float(blocks) for blocks in self.queue_blocks(picked).values())
        bits = self.memory_bits + sum(float(ways.weight_bits[row]) for ways, row in rows)
        interval = math.ceil(max(compute, bits / problem.bits_per_cycle))
        if interval > math.ceil(compute):
            bound_by = "memory"
        depth = float(self.timing.depth(picked, interval))
        return PartCosts(
            interval,
            compute,
            depth,
            float(self.cycles(interval, depth)),
            resources,
            bits / interval * problem.platform.clock_mhz / 1000,
            bound_by,
        )

    def cycles(self, interval: Array | float, depth: Array | float) -> Array:
        """Return the cycles of a batch, for cycles of an interval and a depth of the same shape."""
        loaded = (self.reloads - 1) * self.reload_words
        cycles: Array = np.floor((interval * self.problem.batch + depth) * self.reloads + loaded)
        return cycles

    def fits(self, costs: PartCosts) -> bool:
        """Say whether the board has room for it."""
        return bool((self.problem.needs(costs.resources) <= self.problem.limits).all())


@lru_cache(maxsize=4096)
def _largest_divisor(number: int, most: int) -> int:
    return max(i for i in range(1, min(number, most) + 1) if number % i == 0)
