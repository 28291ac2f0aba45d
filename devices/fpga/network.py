"""A network as what an FPGA runs: layers, their sizes, and which takes the output of which."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["INPUT", "Network", "Node", "Shape"]

Shape = tuple[int, int, int]
"""Rows, columns and channels of one feature map; a vector has one row and one column."""

INPUT = ""
"""Stands among a node's inputs for the network's input."""


@dataclass(frozen=True)
class Node:
    """A layer.

    Attributes:
        name: unique in the network; of the file or module where it has one.
        kind: a name in ``LAYERS``, never ``"squeeze"``: whether streams have to be adapted
            depends on the foldings.
        sizes: the columns that ``evaluate_layers`` needs for the kind, without foldings, widths
            and ``buffer_depth``; ``channels`` of a concat are a tuple, one for each input.
        inputs: names of the nodes whose output it takes, in order; ``INPUT`` for the network's.
        output: shape of what leaves; of a split, of each copy.
    """

    name: str
    kind: str
    sizes: Mapping[str, Any] = field(hash=False)
    inputs: tuple[str, ...]
    output: Shape

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        if self.kind == "inner_product":  # each weight is used once
            return self.weights
        return self.weights * math.prod(self.output[:2])

    @property
    def weights(self) -> int:
        """Words of weights, without the bias; 0 for kinds that have none."""
        x: Mapping[str, int] = self.sizes
        if self.kind == "convolution":
            return x["kernel_rows"] * x["kernel_cols"] * x["channels"] // x["groups"] * x["filters"]
        if self.kind == "inner_product":
            return x["rows"] * x["cols"] * x["channels"] * x["filters"]
        return 0


@dataclass(frozen=True)
class Network:
    """Layers in an order in which they can run.

    Attributes:
        name: for people.
        input: shape of one image.
        nodes: each after those whose output it takes. An output is taken once: where more is
            to take it, a split is between.

    Raises:
        ValueError: a name is there twice, or a node takes the output of none before it.
    """

    name: str
    input: Shape
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        known = {INPUT}
        for node in self.nodes:
            if node.name in known or not known.issuperset(node.inputs):
                raise ValueError(f"node '{node.name}' of network '{self.name}' is out of order")
            known.add(node.name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the nodes whose output no other takes: it leaves the network."""
        return tuple(name for name in self._nodes if name not in self._consumers)

    def consumers(self, name: str) -> tuple[str, ...]:
        """Return the names of the nodes that take an output, in order.

        One that takes it twice, as ``x + x`` does, is there twice.

        Args:
            name: of a node, or ``INPUT``.
        """
        return self._consumers.get(name, ())

    def node(self, name: str) -> Node:
        """Return the node of a name.

        Raises:
            KeyError: there is none.
        """
        return self._nodes[name]

    @functools.cached_property
    def _nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @functools.cached_property
    def _consumers(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            for name in node.inputs:
                found[name] = (*found.get(name, ()), node.name)
        return found
