"""What torch's functions on single values become in TFLite, and the list of all that are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brpnas.devices.tflite import layers, shapes
from brpnas.devices.tflite.graph import Graph, Node, UnsupportedError
from brpnas.devices.tflite.operands import Handler, Value, axis_of, numbers

__all__ = ["FUNCTIONS", "HARMLESS"]


def _binary(kind: str, swapped: bool = False) -> Handler:
    def binary(graph: Graph, one: Value, other: Value, *, alpha: float = 1) -> Node:
        if alpha != 1:
            raise UnsupportedError(f"{kind} with alpha {alpha}")
        left, right = (other, one) if swapped else (one, other)
        nodes = _operand(graph, left, right), _operand(graph, right, left)
        a, b = nodes
        if len({len(a.shape), len(b.shape), 4} - {0}) > 1 and 4 in (len(a.shape), len(b.shape)):
            raise UnsupportedError(f"{kind} of an image and a tensor of fewer dimensions")
        neutral = {"ADD": 0, "SUB": 0, "MUL": 1, "DIV": 1}[kind]
        shape = np.broadcast_shapes(a.shape, b.shape)
        for constant, same in ((b, a), (a, b)):
            if kind in ("SUB", "DIV") and constant is a:
                continue
            if (
                constant.value is not None
                and shape == same.shape
                and np.all(constant.value == neutral)
            ):
                return same
        return graph.add(kind, nodes, shape)

    return binary


def _operand(graph: Graph, value: Value, beside: Value) -> Node:
    """Return the node of an operand; ``beside`` is the other one, a node if this is none."""
    if isinstance(value, Node):
        return value
    if not isinstance(value, Tensor):
        return graph.number(value)
    array = numbers(value, "operand")
    if not isinstance(beside, Node) or array.ndim > len(beside.shape):
        raise UnsupportedError("an operand with more dimensions than what depends on the input")
    if len(beside.shape) == 4 and array.ndim:
        array = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(0, 2, 3, 1)
    # What does not vary along an axis is broadcast along it, as a bias by channel is.
    for axis, size in enumerate(array.shape):
        first = array.take([0], axis)
        if size == beside.shape[axis - array.ndim] > 1 and (array == first).all():
            array = first
    return graph.constant(np.ascontiguousarray(array))


def _unary(kind: str) -> Handler:
    def unary(graph: Graph, x: Node) -> Node:
        return graph.add(kind, (x,), x.shape)

    return unary


def hardtanh(graph: Graph, x: Node, min_val: float = -1.0, max_val: float = 1.0) -> Node:
    """Write a clamp, for the two ranges that TFLite has."""
    kinds: dict[tuple[float, float], str] = {(0, 6): "RELU6", (-1, 1): "RELU_N1_TO_1"}
    if (min_val, max_val) not in kinds:
        raise UnsupportedError(f"clamp to {min_val} .. {max_val}; known are 0 .. 6 and -1 .. 1")
    return graph.add(kinds[min_val, max_val], (x,), x.shape)


def clamp(graph: Graph, x: Node, min: float | None = None, max: float | None = None) -> Node:
    """Write a clamp, for the ranges that TFLite has."""
    if (min, max) == (0, None):
        return graph.add("RELU", (x,), x.shape)
    return hardtanh(graph, x, -math.inf if min is None else min, math.inf if max is None else max)


def silu(graph: Graph, x: Node) -> Node:
    """Write x * sigmoid(x)."""
    return graph.add("MUL", (x, graph.add("LOGISTIC", (x,), x.shape)), x.shape)


def softmax(graph: Graph, x: Node, dim: int | None = None, **_: object) -> Node:
    """Write a softmax over the last axis."""
    if dim is None or axis_of(x, dim) != len(x.shape) - 1:
        raise UnsupportedError(
            f"softmax over axis {dim}; known is the last one, of images the channels"
        )
    return graph.add("SOFTMAX", (x,), x.shape, (("Beta", 1.0),))


_HANDLERS: dict[str, Handler] = {
    "conv2d": layers.conv2d,
    "linear": layers.linear,
    "batch_norm": layers.batch_norm,
    "avg_pool2d": layers.avg_pool2d,
    "max_pool2d": layers.max_pool2d,
    "adaptive_avg_pool2d": layers.adaptive_avg_pool2d,
    "mean": layers.mean,
    "pad": layers.pad,
    "add": _binary("ADD"),
    "radd": _binary("ADD"),
    "sub": _binary("SUB"),
    "rsub": _binary("SUB", swapped=True),
    "mul": _binary("MUL"),
    "multiply": _binary("MUL"),
    "rmul": _binary("MUL"),
    "div": _binary("DIV"),
    "truediv": _binary("DIV"),
    "rtruediv": _binary("DIV", swapped=True),
    "cat": shapes.cat,
    "concat": shapes.cat,
    "relu": _unary("RELU"),
    "relu6": _unary("RELU6"),
    "sigmoid": _unary("LOGISTIC"),
    "tanh": _unary("TANH"),
    "hardswish": _unary("HARD_SWISH"),
    "silu": silu,
    "hardtanh": hardtanh,
    "clamp": clamp,
    "softmax": softmax,
    "view": shapes.view,
    "reshape": shapes.view,
    "flatten": shapes.flatten,
    "squeeze": shapes.squeeze,
    "unsqueeze": shapes.unsqueeze,
    "narrow": shapes.narrow,
    "getitem": shapes.getitem,
    "contiguous": shapes.identity,
    "detach": shapes.identity,
    "dropout": shapes.dropout,
    "zeros_like": shapes.zeros_like,
    "ones_like": shapes.ones_like,
}
"""By the name that torch gives the function, in any of its places."""


def _spellings() -> dict[Callable[..., Any], tuple[Handler, bool]]:
    """Every torch function that the handlers stand for, and whether it works in place."""
    found: dict[Callable[..., Any], tuple[Handler, bool]] = {}
    for name, handler in _HANDLERS.items():
        for place in (torch, F, Tensor):
            for spelling in (name, f"__{name}__", f"{name}_", f"__i{name}__"):
                function = getattr(place, spelling, None)
                if callable(function):
                    found[function] = handler, spelling in (f"{name}_", f"__i{name}__")
    return found


FUNCTIONS = _spellings()
"""What becomes of a torch function, and whether it writes into its first argument."""

HARMLESS: set[Any] = {
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "layout")),
    *(getattr(Tensor, name).__get__ for name in ("requires_grad", "is_cuda", "is_quantized")),
    *(getattr(Tensor, name) for name in ("size", "dim", "__len__", "numel", "nelement")),
    *(getattr(Tensor, name) for name in ("is_floating_point", "is_complex", "ndimension")),
}
"""Functions that tell what depends on the shape only."""
