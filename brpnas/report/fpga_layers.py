"""What a page says of the layers of a design: one row each, and the rows that make up the sum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from brpnas.devices.fpga.export import bound_of, by_resource
from brpnas.devices.fpga.foldings import Foldings
from brpnas.devices.fpga.mapping import Part
from brpnas.devices.fpga.memory import memory_blocks
from brpnas.devices.fpga.squeezes import squeeze_costs

__all__ = ["BuiltLayer", "LayerRow", "bottleneck", "layer_rows", "sum_rows"]

_SHORT = {"coarse_in": "in", "coarse_out": "out", "coarse_group": "groups", "coarse": "streams"}


@dataclass(frozen=True)
class LayerRow:
    """A line of a part's table: a layer, or what belongs to none.

    Attributes:
        name: of the layer.
        folding: in words.
        resources: by the names of ``RESOURCES``, with the queues before it.
    """

    name: str
    folding: str
    resources: Mapping[str, float]

    @property
    def weights(self) -> str:
        """Where its weights lie, in words; empty where there are none."""
        return ""

    @property
    def built(self) -> str:
        """How it is built in words: the folding, and weights that lie elsewhere than usual."""
        if self.weights in ("", "block RAM", "LUTs"):
            return self.folding
        return f"{self.folding}; weights {self.weights}"


@dataclass(frozen=True)
class BuiltLayer(LayerRow):
    """A layer, as it is built.

    Attributes:
        kind: a name in ``LAYERS``.
        ways: how it could be built.
        row: how it is.
        part: that it belongs to.
    """

    kind: str
    ways: Foldings
    row: int
    part: Part

    @property
    def streams_in(self) -> int:
        """Words that enter at a time."""
        return int(self.ways.streams_in[self.row])

    @property
    def streams_out(self) -> int:
        """Words that leave at a time."""
        return int(self.ways.streams_out[self.row])

    @property
    def latency(self) -> float:
        """Cycles from one image to the next."""
        return float(self.ways.latency[self.row])

    @property
    def share(self) -> float:
        """Share of the part's interval that it is busy, 0 to 1."""
        return self.latency / self.part.costs.interval

    @property
    def slowest(self) -> bool:
        """Whether it sets the part's interval, alone or with others that are as slow."""
        return self.latency >= self.part.costs.interval

    @property
    def bound_by(self) -> str:
        """What keeps it from being faster, in words."""
        return bound_of(self.ways, self.row)

    @property
    def streamed(self) -> bool:
        """Whether weights come from the board's memory for every image."""
        return bool(self.ways.weight_bits[self.row])

    @property
    def weights(self) -> str:
        """Where its weights lie, in words; empty where there are none."""
        if not self.ways.node.weights:
            return ""
        folding = self.ways.row(self.row)
        if folding["uram"]:
            return "UltraRAM"
        if self.streamed:
            return f"{folding['off_chip'] / self._depth:.0%} streamed"
        width = self.part.segment.problem.words.weight * self._lanes
        blocks = memory_blocks(np.array(self._depth), np.array(float(width)))
        return "block RAM" if blocks else "LUTs"

    @property
    def _lanes(self) -> int:
        """Weights that are used at a time."""
        return int(self.ways.lanes[self.row])

    @property
    def _depth(self) -> float:
        """Words of the memory of weights, each of as many weights as are used at a time."""
        return self.ways.node.weights / self._lanes


def bottleneck(part: Part) -> str:
    """Return whether ``"layers"``, ``"memory"``, ``"input"`` or ``"output"`` set the interval.

    ``PartCosts.bound_by`` alone does not tell: a file may call a layer ``memory``.
    """
    costs = part.costs
    if costs.interval > math.ceil(costs.compute_interval):
        return "memory"
    latencies = [ways.latency[row] for ways, row in _chosen(part)]
    return "layers" if max(latencies) >= costs.compute_interval else costs.bound_by


def layer_rows(part: Part) -> list[BuiltLayer]:
    """Return the layers of a part, in order."""
    segment = part.segment
    resources = [by_resource(ways.resources[row]) for ways, row in _chosen(part)]
    for (at, _), blocks in segment.queue_blocks(segment.picked(part.choice)).items():
        resources[at]["BRAM"] += float(blocks)
    # The ways are shared by layers of the same sizes: their node may have another's name.
    return [
        BuiltLayer(node.name, _folding(ways, row), taken, node.kind, ways, row, part)
        for node, taken, (ways, row) in zip(segment.nodes, resources, _chosen(part), strict=True)
    ]


def _chosen(part: Part) -> list[tuple[Foldings, int]]:
    return list(zip(part.segment.ways, part.choice, strict=True))


def sum_rows(part: Part) -> list[LayerRow]:
    """Return what adapts streams between layers, if anything does, and the sum over the part."""
    squeezes = list(part.segment.squeezes(part.choice))
    width = part.segment.problem.words.data
    taken = np.sum([squeeze_costs(one, other, width) for *_, one, other in squeezes], axis=0)
    rows = [LayerRow("sum", "", by_resource(part.costs.resources))]
    if squeezes:
        places = f"between {len(squeezes)} pairs" if len(squeezes) > 1 else "between one pair"
        rows.insert(0, LayerRow("stream adapters", places, by_resource(taken)))
    return rows


def _folding(ways: Foldings, row: int) -> str:
    """Return a way to build a layer in words; without groups where there is only one."""
    columns = ways.row(row)
    hidden = {"off_chip", "uram"}  # said with the weights
    if ways.node.sizes.get("groups", 1) == 1:
        hidden.add("coarse_group")
    shown = {name: value for name, value in columns.items() if name not in hidden}
    return ", ".join(f"{_SHORT.get(name, name)} {value}" for name, value in shown.items())
