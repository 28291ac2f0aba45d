"""What torch's functions are on an FPGA, and the list of all that are known.

Each is a plain function that takes torch's own arguments, with values of the builder in place of
the tensors that depend on the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from brpnas.devices.fpga.builder import Builder, Value
from brpnas.devices.fpga.windows import Pair, Window
from brpnas.errors import UserError

__all__ = ["FUNCTIONS", "SAME", "SPELLINGS", "VIEWS", "Call"]

_Sizes = int | Sequence[int]
"""One number for rows and columns, or one for each."""


@dataclass
class Call:
    """Where a function is called.

    Attributes:
        builder: of the network.
        name: of the layer that the call makes.
        dimensions: of the first tensor that depends on the input.
        shape: of the result, of functions in VIEWS; of others, of that tensor.
        drops: whether the result has no rows and columns, though that tensor has; functions set it.
    """

    builder: Builder
    name: str
    dimensions: int
    shape: tuple[int, ...]
    drops: bool = False


def _pair(sizes: _Sizes) -> Pair:
    numbers = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    if len(numbers) > 2:
        raise UserError(f"{numbers} for rows and columns")
    return numbers[0], numbers[-1]


def _dims(constant: object) -> tuple[int, ...]:
    """Return the shape of a constant."""
    if isinstance(constant, Value):
        raise UserError("weights that depend on the input; accepted: constants")
    return tuple(constant.shape) if isinstance(constant, Tensor) else ()


# Convolutions and matrices


def conv2d(
    call: Call,
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Sizes = 1,
    padding: _Sizes | str = 0,
    dilation: _Sizes = 1,
    groups: int = 1,
) -> Value:
    """Add a convolution."""
    weights = _dims(weight)
    rows, cols = weights[2:]
    spread = _pair(dilation)
    if padding == "same":
        before = spread[0] * (rows - 1) // 2, spread[1] * (cols - 1) // 2
        behind = spread[0] * (rows - 1) - before[0], spread[1] * (cols - 1) - before[1]
    else:
        before = behind = (0, 0) if isinstance(padding, str) else _pair(padding)
    window = Window((rows, cols), _pair(stride), before, behind, spread)
    return call.builder.convolution(
        call.name, x, weights, window, groups=groups, bias=bias is not None
    )


def linear(call: Call, x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    """Add an inner product."""
    filters, words = _dims(weight)
    if call.dimensions != 2:
        raise UserError(f"linear of {call.dimensions} dimensions; accepted: 2, (batch, words)")
    return call.builder.inner_product(call.name, x, words, filters, bias=bias is not None)


def batch_norm(
    call: Call,
    x: Value,
    running_mean: Tensor | None,
    running_var: Tensor | None,  # noqa: ARG001 - torch's signature
    weight: Tensor | None = None,  # noqa: ARG001 - torch's signature
    bias: Tensor | None = None,  # noqa: ARG001 - torch's signature
    training: bool = False,
    momentum: float = 0.1,  # noqa: ARG001 - torch's signature
    eps: float = 1e-5,  # noqa: ARG001 - torch's signature
) -> Value:
    """Add a scale and shift by channel."""
    if training or running_mean is None:
        raise UserError("a batch-norm that normalises by its own batch")
    dims = (*_dims(running_mean), *(1,) * (call.dimensions - 2))
    return call.builder.affine(call.name, x, dims, call.dimensions, shift=True)


# Pooling


def avg_pool2d(
    call: Call,
    x: Value,
    kernel_size: _Sizes,
    stride: _Sizes | None = None,
    padding: _Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,  # noqa: ARG001 - the divisor costs the same
    divisor_override: int | None = None,  # noqa: ARG001
) -> Value:
    """Add an average pool."""
    window = _pool_window(kernel_size, stride, padding, 1, ceil_mode)
    return call.builder.pool(call.name, x, window, average=True)


def max_pool2d(
    call: Call,
    x: Value,
    kernel_size: _Sizes,
    stride: _Sizes | None = None,
    padding: _Sizes = 0,
    dilation: _Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    """Add a maximum pool."""
    if return_indices:
        raise UserError("a maximum pool that returns indices")
    window = _pool_window(kernel_size, stride, padding, dilation, ceil_mode)
    return call.builder.pool(call.name, x, window, average=False)


def _pool_window(
    kernel: _Sizes, stride: _Sizes | None, padding: _Sizes, dilation: _Sizes, ceil_mode: bool
) -> Window:
    # An empty stride is that of the kernel's size.
    strides = _pair(stride or kernel)
    pads = _pair(padding)
    return Window(_pair(kernel), strides, pads, pads, _pair(dilation), ceil_mode)


def adaptive_avg_pool2d(call: Call, x: Value, output_size: _Sizes | None) -> Value:
    """Add an average over equal parts of the image."""
    image = x.shape[:2]
    wanted = (None, None) if output_size is None else _pair(output_size)
    parts = cast(Pair, tuple(w or size for w, size in zip(wanted, image, strict=True)))
    if parts == image:
        return x
    kernel = image[0] // parts[0], image[1] // parts[1]
    if (kernel[0] * parts[0], kernel[1] * parts[1]) != image:
        raise UserError(
            f"an adaptive pool of {image[0]} x {image[1]} to {parts[0]} x {parts[1]}; accepted: "
            "what divides the image"
        )
    return call.builder.pool(call.name, x, Window(kernel, kernel), average=True)


def mean(call: Call, x: Value, dim: _Sizes | None = None, keepdim: bool = False) -> Value:
    """Add a global pool."""
    axes = () if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if call.dimensions != 4 or {axis % 4 for axis in axes} != {2, 3}:
        raise UserError(f"a mean over axes {axes}; accepted: over rows and cols, 2 and 3")
    call.drops = not keepdim
    return call.builder.global_pool(call.name, x)


# One word at a time


def relu(call: Call, x: Value) -> Value:
    """Add a rectifier."""
    return call.builder.relu(call.name, x)


def clamp(call: Call, x: Value, *_: object, **__: object) -> Value:
    """Add a clamp to any range."""
    return call.builder.clamp(call.name, x)


def hardswish(call: Call, x: Value) -> Value:
    """Add a hard-swish."""
    return call.builder.hard_swish(call.name, x)


def hardsigmoid(call: Call, x: Value) -> Value:
    """Add a hard-sigmoid."""
    return call.builder.hard_sigmoid(call.name, x)


def softmax(call: Call, x: Value, *_: object, **__: object) -> Value:
    """Leave out a softmax at the end."""
    return call.builder.softmax(x)


def _eltwise(operation: str) -> Callable[..., Value]:
    def eltwise(call: Call, one: object, other: object, **_: object) -> Value:
        neutral = 0 if operation == "add" else 1
        values = [value for value in (one, other) if isinstance(value, Value)]
        if len(values) == 2:
            return call.builder.eltwise(call.name, operation, values)
        constant = other if isinstance(one, Value) else one
        if not isinstance(constant, Tensor) and constant == neutral:
            return values[0]  # as sum() starts with 0
        shift = operation == "add"
        return call.builder.affine(
            call.name, values[0], _dims(constant), call.dimensions, shift=shift
        )

    return eltwise


# Arrangements


def cat(call: Call, tensors: Sequence[object], dim: int = 0) -> Value:
    """Add a concatenation of channels."""
    if dim % call.dimensions != 1:
        raise UserError(f"a concatenation along axis {dim}; accepted: 1")
    values = [one for one in tensors if isinstance(one, Value)]
    if len(values) != len(tensors):
        raise UserError("a concatenation with a constant")
    return call.builder.concat(call.name, values)


def narrow(call: Call, x: Value, dim: int, start: int, length: int) -> Value:
    """Keep a part along one axis."""
    spans = [slice(None)] * call.dimensions
    spans[dim] = slice(start, start + length)
    return call.builder.part(call.name, x, spans)


def getitem(call: Call, x: Value, index: object) -> Value:
    """Keep a part: ranges along the axes, such as ``x[:, :, ::2, ::2]``."""
    spans = list(index) if isinstance(index, list | tuple) else [index]
    for at, span in enumerate(spans):
        if span is Ellipsis:
            spans[at : at + 1] = [slice(None)] * (call.dimensions - len(spans) + 1)
    if not all(isinstance(span, slice) for span in spans):
        raise UserError("an index that is no range; accepted: ranges, such as x[:, :, ::2, ::2]")
    return call.builder.part(call.name, x, cast(list[slice], spans))


def view(call: Call, x: Value, *_: object, **__: object) -> Value:
    """Flatten, or undo it."""
    return call.builder.reshape(x, call.shape)


def pad(
    call: Call, x: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Value:
    """Pad with zeros; torch lists the last axis first."""
    if mode != "constant" or value or call.dimensions != 4 or any(pad[6:]):
        raise UserError("a padding with something else than zeros, or of the batch")
    left, right, top, bottom, before, behind = [*pad, 0, 0, 0, 0][:6]
    x = call.builder.pad_channels(call.name, x, before, behind)
    return call.builder.pad(x, (top, left, bottom, right))


def same(call: Call, x: Value, *_: object, **__: object) -> Value:  # noqa: ARG001
    """Add nothing."""
    return x


def dropout(call: Call, x: Value, p: float = 0.5, training: bool = True) -> Value:  # noqa: ARG001
    """Add nothing: dropout does nothing in evaluation mode."""
    if training:
        raise UserError("dropout that stays on in evaluation mode")
    return x


def zeros_like(call: Call, x: Value, **_: object) -> Value:
    """Make zeros."""
    return call.builder.zeros(x.shape)


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "conv2d": conv2d,
    "linear": linear,
    "batch_norm": batch_norm,
    "avg_pool2d": avg_pool2d,
    "max_pool2d": max_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "mean": mean,
    "relu": relu,
    "relu6": clamp,
    "hardtanh": clamp,
    "clamp": clamp,
    "hardswish": hardswish,
    "hardsigmoid": hardsigmoid,
    "softmax": softmax,
    "log_softmax": softmax,
    "add": _eltwise("add"),
    "radd": _eltwise("add"),
    "mul": _eltwise("mul"),
    "rmul": _eltwise("mul"),
    "cat": cat,
    "concat": cat,
    "narrow": narrow,
    "getitem": getitem,
    "view": view,
    "reshape": view,
    "flatten": view,
    "squeeze": view,
    "unsqueeze": view,
    "pad": pad,
    "contiguous": same,
    "detach": same,
    "dropout": dropout,
    "dropout2d": dropout,
    "zeros_like": zeros_like,
}
"""By the name that torch gives the function, in any of its places."""

VIEWS = {"view", "reshape", "flatten", "squeeze", "unsqueeze", "narrow", "getitem"}
"""Functions whose result shows the memory of their argument."""

SAME = {"contiguous", "detach", "dropout", "dropout2d"}
"""Functions that return their argument."""


def _spellings() -> dict[Callable[..., Any], tuple[str, bool]]:
    found: dict[Callable[..., Any], tuple[str, bool]] = {}
    for name in FUNCTIONS:
        for place in (torch, F, Tensor):
            for spelling in (name, f"__{name}__", f"{name}_", f"__i{name}__"):
                function = getattr(place, spelling, None)
                if callable(function):
                    found[function] = name, spelling in (f"{name}_", f"__i{name}__")
    return found


SPELLINGS = _spellings()
"""What each of torch's functions is called in FUNCTIONS, and whether it writes in place."""
