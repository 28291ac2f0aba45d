"""What torch's layers become in TFLite: one plain function each.

Images are (batch, height, width, channels) in here, whatever torch calls them. Each function
takes torch's own arguments, with nodes in place of the tensors that depend on the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from brpnas.devices.tflite.graph import AFFINE, Graph, Node, UnsupportedError
from brpnas.devices.tflite.operands import Pair, axis_of, image_shape, numbers, pair
from brpnas.devices.tflite.windows import Windows

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "linear",
    "max_pool2d",
    "mean",
    "pad",
]


# Convolutions and matrices


def conv2d(
    graph: Graph,
    x: Node,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Node:
    """Write a convolution; where TFLite cannot pad as torch does, a PAD comes before it."""
    n, h, w, channels = image_shape(x, "convolution")
    kernel = numbers(weight, "weights")  # (outputs, inputs / groups, height, width)
    outputs, inputs = kernel.shape[:2]
    if channels != inputs * groups:
        raise UnsupportedError(f"expected {inputs * groups} channels, got {channels}")
    steps, spread = pair(stride), pair(dilation)
    size = tuple((k - 1) * d + 1 for k, d in zip(kernel.shape[2:], spread, strict=True))
    if padding == "same":  # torch allows it with stride 1 only, where TFLite pads alike
        before = tuple((k - 1) // 2 for k in size)
        after = tuple(k - 1 - b for k, b in zip(size, before, strict=True))
    else:
        before = after = (0, 0) if padding == "valid" else pair(padding)  # type: ignore[arg-type]
    windows = Windows((h, w), size, steps, before, after)
    scheme = windows.scheme
    if scheme is None:
        x, scheme = _pad_image(graph, x, before, after), "VALID"
    options: tuple[tuple[str, Any], ...] = (
        ("Padding", scheme),
        ("StrideH", steps[0]),
        ("StrideW", steps[1]),
        ("DilationHFactor", spread[0]),
        ("DilationWFactor", spread[1]),
    )
    kind = "CONV_2D"
    if groups == channels and groups > 1:
        kind = "DEPTHWISE_CONV_2D"
        options += (("DepthMultiplier", outputs // channels),)
    offset = np.zeros(outputs, np.float32) if bias is None else numbers(bias, "bias")
    constants = graph.constant(kernel), graph.constant(offset)
    return graph.add(kind, (x, *constants), (n, *windows.outputs, outputs), options)


def linear(graph: Graph, x: Node, weight: Tensor, bias: Tensor | None = None) -> Node:
    """Write a fully connected layer."""
    matrix = numbers(weight, "weights")  # (outputs, inputs)
    if len(x.shape) == 4 or matrix.ndim != 2:
        raise UnsupportedError(f"linear layer on a tensor with {len(x.shape)} dimensions")
    if x.shape[-1] != matrix.shape[1]:
        raise UnsupportedError(f"expected {matrix.shape[1]} inputs, got {x.shape[-1]}")
    offset = np.zeros(len(matrix), np.float32) if bias is None else numbers(bias, "bias")
    options = (("KeepNumDims", len(x.shape) != 2),)
    constants = graph.constant(matrix), graph.constant(offset)
    return graph.add("FULLY_CONNECTED", (x, *constants), (*x.shape[:-1], len(matrix)), options)


def batch_norm(
    graph: Graph,
    x: Node,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,  # noqa: ARG001 - torch's signature
    eps: float = 1e-5,
) -> Node:
    """Write a batch-norm with given statistics as one multiplication and one addition."""
    if training or running_mean is None or running_var is None or len(x.shape) not in (2, 4):
        raise UnsupportedError(
            "batch-norm that normalises by its own batch, or not of 2 or 4 dimensions"
        )
    scale = 1 / np.sqrt(numbers(running_var, "variance").astype(np.float64) + eps)
    if weight is not None:
        scale = scale * numbers(weight, "scale")
    shift = -numbers(running_mean, "mean") * scale
    if bias is not None:
        shift = shift + numbers(bias, "shift")
    # In float64 until they are folded, so that there is one rounding only.
    return graph.add(AFFINE, (x, graph.constant(scale), graph.constant(shift)), x.shape)


# Pooling


def avg_pool2d(
    graph: Graph,
    x: Node,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Node:
    """Write an average pool; TFLite's never counts the padding."""
    n, h, w, c = image_shape(x, "pooling")
    before = pair(padding)
    size = pair(kernel_size)
    windows = Windows((h, w), size, pair(stride or kernel_size), before, before, ceil_mode)
    scheme = windows.scheme
    if any(before) and count_include_pad:
        if ceil_mode:
            scheme = None
        else:
            x, scheme = _pad_image(graph, x, before, before), "VALID"
    if scheme is None or divisor_override is not None:
        raise UnsupportedError(f"average pool with padding {before}, ceil_mode {ceil_mode}")
    return graph.add(
        "AVERAGE_POOL_2D", (x,), (n, *windows.outputs, c), windows.pool_options(scheme)
    )


def max_pool2d(
    graph: Graph,
    x: Node,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Node:
    """Write a maximum pool; where TFLite cannot pad as torch does, a PADV2 comes before it."""
    n, h, w, c = image_shape(x, "pooling")
    if pair(dilation) != (1, 1) or return_indices:
        raise UnsupportedError("maximum pool with dilation or indices")
    before = pair(padding)
    size = pair(kernel_size)
    windows = Windows((h, w), size, pair(stride or kernel_size), before, before, ceil_mode)
    scheme = windows.scheme
    if scheme is None:
        x, scheme = _pad_image(graph, x, before, windows.overhang, -math.inf), "VALID"
    return graph.add("MAX_POOL_2D", (x,), (n, *windows.outputs, c), windows.pool_options(scheme))


def adaptive_avg_pool2d(graph: Graph, x: Node, output_size: Pair | None) -> Node:
    """Write an average over equal parts of the image."""
    _, h, w, _ = image_shape(x, "pooling")
    wanted = (None, None) if output_size is None else pair(output_size)
    rows, columns = (
        have if want is None else want for want, have in zip(wanted, (h, w), strict=True)
    )
    if (rows, columns) == (1, 1):
        return mean(graph, x, (2, 3), keepdim=True)
    if h % rows or w % columns:
        raise UnsupportedError(f"adaptive pool of {h} x {w} to {rows} x {columns}: parts overlap")
    return avg_pool2d(graph, x, (h // rows, w // columns))


def mean(graph: Graph, x: Node, dim: Pair | None = None, keepdim: bool = False) -> Node:
    """Write a mean over some axes."""
    rank = len(x.shape)
    dims = range(rank) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = sorted(axis_of(x, one) for one in dims)
    if rank == 4 and not keepdim and axes not in ([1, 2], [0, 1, 2, 3]):
        raise UnsupportedError("mean over an image that keeps height or width alone")
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    if not keepdim:
        shape = [size for axis, size in enumerate(x.shape) if axis not in axes]
    return graph.add("MEAN", (x, graph.integers(*axes)), shape, (("KeepDims", keepdim),))


# Padding


def _pad_image(
    graph: Graph, x: Node, before: Sequence[int], after: Sequence[int], value: float = 0
) -> Node:
    (top, left), (bottom, right) = before, after
    return _pad(graph, x, ((0, 0), (top, bottom), (left, right), (0, 0)), value)


def _pad(graph: Graph, x: Node, widths: Sequence[tuple[int, int]], value: float) -> Node:
    shape = [size + sum(width) for size, width in zip(x.shape, widths, strict=True)]
    if not value:
        return graph.add("PAD", (x, graph.integers(*widths)), shape)
    filling = graph.number(value)
    return graph.add("PADV2", (x, graph.integers(*widths), filling), shape)


def pad(
    graph: Graph, x: Node, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Node:
    """Write a padding with a constant; torch lists the last axis first."""
    rank = len(x.shape)
    if mode != "constant" or min(pad) < 0 or len(pad) > 2 * rank:
        raise UnsupportedError(f"padding of mode '{mode}' or with negative widths")
    widths = [(0, 0)] * rank
    for place in range(len(pad) // 2):
        widths[axis_of(x, -1 - place)] = (pad[2 * place], pad[2 * place + 1])
    return _pad(graph, x, widths, value or 0)
