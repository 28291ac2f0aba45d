"""A network as a graph of TFLite operators: traced, then simplified, then written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError

__all__ = ["AFFINE", "CONSTANT", "INPUT", "Graph", "Node", "UnsupportedError"]

INPUT = "INPUT"
CONSTANT = "CONSTANT"
AFFINE = "AFFINE"
"""A batch-norm: ``inputs[0] * inputs[1] + inputs[2]`` by channel, the last axis. No TFLite
operator: simplifying folds it into what is before it, or writes it out."""

Options = tuple[tuple[str, Any], ...]

_COMMUTATIVE = {"ADD", "MUL"}


class UnsupportedError(UserError):
    """A layer or function that the project's own writer does not know."""


@dataclass(eq=False, slots=True)
class Node:
    """One value, and the operator that makes it.

    Attributes:
        kind: name of a TFLite builtin operator, or INPUT, CONSTANT or AFFINE.
        inputs: what it reads.
        shape: of the value as TFLite sees it: images are (batch, height, width, channels).
        options: fields of the operator's options, by their names in TFLite's schema.
        value: of a constant.
        activation: fused into the operator: NONE, RELU, RELU6 or RELU_N1_TO_1.
    """

    kind: str
    inputs: tuple[Node, ...]
    shape: tuple[int, ...]
    options: Options = ()
    value: NDArray[Any] | None = None
    activation: str = "NONE"


class Graph:
    """Nodes in an order in which they can be computed; equal work is held once.

    Args:
        input_shape: of the one input, in torch's order.
    """

    def __init__(self, input_shape: Sequence[int]) -> None:
        self.input = Node(INPUT, (), tuple(input_shape))
        self.nodes = [self.input]
        self._known: dict[Any, Node] = {}

    def add(
        self,
        kind: str,
        inputs: tuple[Node, ...],
        shape: Sequence[int],
        options: Options = (),
    ) -> Node:
        """Return the node of this operator: the one that is there, if it does the same."""
        names: Iterable[int] = map(id, inputs)
        key = (kind, tuple(sorted(names) if kind in _COMMUTATIVE else names), options)
        node = self._known.get(key)
        if node is None:
            node = Node(kind, inputs, tuple(shape), options)
            self._known[key] = node
            self.nodes.append(node)
        return node

    def constant(self, value: NDArray[Any]) -> Node:
        """Return a new node that holds a value: float32, or int32 for shapes and axes."""
        return Node(CONSTANT, (), value.shape, value=value)

    def integers(self, *values: int | Sequence[int]) -> Node:
        """Return the node of an int32 constant, such as a shape, axes or paddings."""
        node = self._known.get(values)
        if node is None:
            node = self._known[values] = self.constant(np.array(values, np.int32))
        return node

    def transpose(self, node: Node, order: tuple[int, ...]) -> Node:
        """Return a value with its axes in another order."""
        if node.kind == "TRANSPOSE":
            first = node.inputs[1].value
            assert first is not None  # noqa: S101 - for the type checker
            if all(first[axis] == place for place, axis in enumerate(order)):
                return node.inputs[0]  # there and back again
        shape = [node.shape[axis] for axis in order]
        return self.add("TRANSPOSE", (node, self.integers(*order)), shape)

    def to_torch(self, node: Node) -> Node:
        """Return an image (batch, height, width, channels) in torch's order of axes."""
        return self.transpose(node, (0, 3, 1, 2)) if len(node.shape) == 4 else node

    def from_torch(self, node: Node) -> Node:
        """Return an image (batch, channels, height, width) in TFLite's order of axes."""
        return self.transpose(node, (0, 2, 3, 1)) if len(node.shape) == 4 else node

    def number(self, value: float) -> Node:
        """Return the node of a single float32."""
        key = ("number", float(value))
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = self.constant(np.array(value, np.float32))
        return node
