"""What torch's functions that arrange values become in TFLite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brpnas.devices.tflite.graph import Graph, Node, UnsupportedError
from brpnas.devices.tflite.operands import Pair, Value, axis_of, numbers, torch_shape


def view(graph: Graph, x: Node, *sizes: Any, **named: Sequence[int]) -> Node:  # noqa: ANN401
    """Write a change of shape; sizes come one by one or as one sequence."""
    given = named.get("shape") or named.get("size") or sizes
    shape: list[int] = list(given[0]) if isinstance(given[0], list | tuple) else list(given)
    if not all(isinstance(size, int) for size in shape):
        raise UnsupportedError(f"view as {shape}")
    total = math.prod(x.shape)
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = total // -math.prod(shape)
    if math.prod(shape) != total:
        raise UnsupportedError(f"shape {shape} of {total} values")
    return _reshape(graph, x, tuple(shape))


def _reshape(graph: Graph, x: Node, shape: tuple[int, ...]) -> Node:
    """Change the shape; both shapes in torch's order."""
    image = len(x.shape) == 4
    if shape == torch_shape(x):
        return x
    # With one pixel, or one channel, both orders of axes are the same in memory.
    if image and x.shape[3] > 1 and x.shape[1] * x.shape[2] > 1:
        x = graph.to_torch(x)
    swap = len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1
    target = (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 and not swap else shape
    node = graph.add("RESHAPE", (x, graph.integers(*target)), target)
    return graph.from_torch(node) if swap else node


def flatten(graph: Graph, x: Node, start_dim: int = 0, end_dim: int = -1) -> Node:
    """Write a flattening of neighbouring axes."""
    shape = torch_shape(x)
    start, end = start_dim % len(shape), end_dim % len(shape)
    middle = math.prod(shape[start : end + 1])
    return _reshape(graph, x, (*shape[:start], middle, *shape[end + 1 :]))


def squeeze(graph: Graph, x: Node, dim: Pair | None = None) -> Node:
    """Write the removal of axes of size 1."""
    shape = torch_shape(x)
    dims = range(len(shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    gone = {one % len(shape) for one in dims}
    kept = tuple(size for axis, size in enumerate(shape) if axis not in gone or size != 1)
    return _reshape(graph, x, kept)


def unsqueeze(graph: Graph, x: Node, dim: int) -> Node:
    """Write a new axis of size 1."""
    shape = torch_shape(x)
    place = dim % (len(shape) + 1)
    return _reshape(graph, x, (*shape[:place], 1, *shape[place:]))


def narrow(graph: Graph, x: Node, dim: int, start: int, length: int) -> Node:
    """Write a range of one axis."""
    axis = axis_of(x, dim)
    size = x.shape[axis]
    first = start + size if start < 0 else start
    if length <= 0 or not 0 <= first <= size - length:
        raise UnsupportedError(f"{length} from {start} on, along axis {dim} of {size}")
    if length == size:
        return x
    begin = [first if place == axis else 0 for place in range(len(x.shape))]
    shape = [*x.shape[:axis], length, *x.shape[axis + 1 :]]
    return graph.add("SLICE", (x, graph.integers(*begin), graph.integers(*shape)), shape)


def getitem(graph: Graph, x: Node, index: Any) -> Node:  # noqa: ANN401 - checked here
    """Write ranges of axes, such as ``x[:, 2:5]``: one operator for each axis, as litert-torch."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if ... in parts:
        place = parts.index(...)
        parts[place : place + 1] = [slice(None)] * (len(x.shape) - len(parts) + 1)
    for dim, part in enumerate(parts):
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise UnsupportedError("an index that is no range without a step, such as 2:5")
        start, stop, _ = part.indices(x.shape[axis_of(x, dim)])
        x = narrow(graph, x, dim, start, stop - start)
    return x


def identity(graph: Graph, x: Node, *_: object, **__: object) -> Node:  # noqa: ARG001
    """Write nothing."""
    return x


def dropout(graph: Graph, x: Node, p: float = 0.5, training: bool = True) -> Node:  # noqa: ARG001
    """Write nothing: dropout does nothing in evaluation mode."""
    if training:
        raise UnsupportedError("dropout that stays on in evaluation mode")
    return x


# Functions that make a tensor which does not depend on the values of their argument


def zeros_like(graph: Graph, x: Node, **_: object) -> Tensor:  # noqa: ARG001
    """Compute zeros."""
    return torch.zeros(torch_shape(x))


def ones_like(graph: Graph, x: Node, **_: object) -> Tensor:  # noqa: ARG001
    """Compute ones."""
    return torch.ones(torch_shape(x))


def cat(graph: Graph, tensors: Sequence[Value], dim: int = 0) -> Node:
    """Write a concatenation."""
    nodes = [node for node in tensors if isinstance(node, Node)]
    axis = axis_of(nodes[0], dim)
    parts = []
    for value in tensors:
        if isinstance(value, Node):
            parts.append(value)
        else:
            array = numbers(value, "operand")
            order = (0, 2, 3, 1) if array.ndim == 4 else tuple(range(array.ndim))
            parts.append(graph.constant(np.ascontiguousarray(array.transpose(order))))
    shape = list(parts[0].shape)
    for part in parts[1:]:
        if [*part.shape[:axis], *part.shape[axis + 1 :]] != [*shape[:axis], *shape[axis + 1 :]]:
            raise UnsupportedError(f"concatenation of shapes {shape} and {part.shape}")
    shape[axis] = sum(part.shape[axis] for part in parts)
    return graph.add("CONCATENATION", tuple(parts), shape, (("Axis", axis),))
