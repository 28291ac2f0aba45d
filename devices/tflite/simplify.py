"""Leave out and merge operators: what litert-torch does too, so that latencies are alike."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.tflite.graph import AFFINE, CONSTANT, Graph, Node

__all__ = ["simplify"]

_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_FUSING = {*_WEIGHTED, "ADD", "SUB", "MUL", "DIV", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
"""Operators that can apply an activation to their result."""
_ACTIVATIONS = {"RELU", "RELU6", "RELU_N1_TO_1"}


def simplify(graph: Graph, output: Node) -> tuple[list[Node], Node]:
    """Merge operators into those before them, where these have no other reader.

    A batch-norm becomes part of the convolution before it, else a multiplication and an addition
    by channel; an activation becomes part of what it is applied to; a mean drops the axes that a
    change of shape would drop. What the output does not need is left out.

    Args:
        graph: is used up.
        output: the node of its output.

    Returns:
        The operators in an order in which they can be run, and the node of the output. Weights
        are in TFLite's layout.
    """
    needed = _needed(graph, output)
    readers = Counter(id(source) for node in needed for source in node.inputs)
    readers[id(output)] += 1
    now: dict[int, Node] = {id(graph.input): graph.input}
    kept: list[Node] = []
    for node in needed:
        if node is graph.input:
            continue
        node.inputs = tuple(now.get(id(source), source) for source in node.inputs)
        before = node.inputs[0]
        alone = readers[id(before)] == 1 and before.activation == "NONE"
        if alone and _merge(before, node):
            after = [before]
        elif node.kind == AFFINE:
            after = _written_out(graph, node)
            kept += after
        else:
            after = [node]
            kept.append(node)
        now[id(node)] = last = after[-1] if after else before
        # A node that was left out hands its readers on; `before` has one reader less.
        readers[id(last)] = readers[id(node)] + (readers[id(before)] - 1 if last is before else 0)
    for node in kept:
        if node.kind in _WEIGHTED:
            _lay_out(graph, node)
    return kept, now[id(output)]


def _needed(graph: Graph, output: Node) -> list[Node]:
    reached = {id(output)}
    for node in reversed(graph.nodes):
        if id(node) in reached:
            reached.update(map(id, node.inputs))
    return [node for node in graph.nodes if id(node) in reached and node.kind != CONSTANT]


def _merge(before: Node, node: Node) -> bool:
    """Make ``before`` do the work of ``node`` too, if it can."""
    if node.kind in _ACTIVATIONS and before.kind in _FUSING:
        before.activation = node.kind
        return True
    if node.kind == AFFINE and before.kind in _WEIGHTED:
        weights, offset, scale, shift = map(_value, (*before.inputs[1:], *node.inputs[1:]))
        by_output = scale.reshape(-1, *(1,) * (weights.ndim - 1))
        new = weights * by_output.astype(np.float32), offset * scale + shift
        before.inputs = (before.inputs[0], *(Node(CONSTANT, (), v.shape, value=v) for v in new))
        return True
    if node.kind == "RESHAPE" and before.kind == "MEAN":
        axes = set(_value(before.inputs[1]).tolist())
        rest = tuple(size for axis, size in enumerate(before.shape) if axis not in axes)
        if node.shape == rest:
            before.shape, before.options = rest, (("KeepDims", False),)
            return True
    return False


def _written_out(graph: Graph, node: Node) -> list[Node]:
    """Write a batch-norm as the operators that it needs."""
    last = node.inputs[0]
    made = []
    for kind, neutral, numbers in (("MUL", 1, node.inputs[1]), ("ADD", 0, node.inputs[2])):
        value = _value(numbers).astype(np.float32)
        if np.any(value != neutral):
            last = Node(kind, (last, graph.constant(value)), node.shape)
            made.append(last)
    return made


def _lay_out(graph: Graph, node: Node) -> None:
    weights, offset = map(_value, node.inputs[1:])
    if node.kind == "CONV_2D":  # (outputs, inputs, height, width) to (outputs, h, w, inputs)
        weights = weights.transpose(0, 2, 3, 1)
    elif node.kind == "DEPTHWISE_CONV_2D":  # (outputs, 1, height, width) to (1, h, w, outputs)
        weights = weights.transpose(1, 2, 3, 0)
    node.inputs = (
        node.inputs[0],
        graph.constant(np.ascontiguousarray(weights)),
        graph.constant(offset.astype(np.float32)),
    )


def _value(node: Node) -> NDArray[Any]:
    assert node.value is not None  # noqa: S101 - for the type checker
    return node.value
