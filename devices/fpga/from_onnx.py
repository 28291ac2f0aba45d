"""Reads networks from ONNX files: one plain function for each operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brpnas.devices.fpga.builder import Builder, Value
from brpnas.devices.fpga.network import Network, Shape
from brpnas.devices.fpga.onnx_model import Dims, OnnxLayer, OnnxModel, load_onnx
from brpnas.devices.fpga.windows import Window
from brpnas.errors import UserError, one_line

__all__ = ["read_onnx"]


def read_onnx(path: Path) -> Network:
    """Read a network from an ONNX file; its weights, in it or beside it, do not matter.

    A batch of several images, or of any number, is read as one image.

    Args:
        path: of the file.

    Raises:
        UserError: it cannot be read, is no valid ONNX model, has a layer for which FPGAs have
            none, or a size that is not fixed; names the file and the layer. Or the extra
            ``onnx`` is missing.
    """
    try:
        return _network(path.stem, load_onnx(path, _OPERATIONS))
    except UserError as error:
        raise UserError(one_line(f"{path}: {error}", 1000)) from error


def _network(name: str, model: OnnxModel) -> Network:
    builder = Builder(name, _image(model.shapes.get(model.input, ())))
    values = {model.input: builder.input}
    for layer in model.layers:
        call = _Call(builder, model, values, layer)
        try:
            value = _OPERATIONS[layer.kind](call)
            if math.prod(value.shape) != math.prod(call.shape[1:]):
                raise UserError(f"its output has the shape {call.shape}, not {value.shape}")
        except UserError as error:
            raise UserError(f"{layer}: {error}") from error
        except Exception as error:  # an attribute of another type, an input that is not there
            raise UserError(f"{layer}: damaged: {one_line(error)}") from error
        values[layer.outputs[0]] = value
    missing = [output for output in model.outputs if output not in values]
    if missing:
        raise UserError(f"output '{one_line(missing[0], 100)}' does not depend on the input")
    return builder.finish([values[output] for output in model.outputs])


def _image(dims: Dims) -> Shape:
    """Return the shape of (batch, channels, rows, cols) or (batch, channels)."""
    if len(dims) not in (2, 4):
        raise UserError(
            f"an input of {len(dims)} dimensions; accepted: 4 (batch, channels, rows, cols) or 2 "
            "(batch, channels)"
        )
    rows, cols = dims[2:] or (1, 1)
    return rows, cols, dims[1]


@dataclass(frozen=True)
class _Call:
    """A layer and what its inputs stand for."""

    builder: Builder
    model: OnnxModel
    values: Mapping[str, Value]
    layer: OnnxLayer

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def shape(self) -> Dims:
        """Of the output."""
        name = self.layer.outputs[0]
        if name not in self.model.shapes:
            raise UserError("the shape of its output is not fixed")
        return self.model.shapes[name]

    @property
    def dimensions(self) -> int:
        """Of the first input."""
        return len(self.model.shapes[self.layer.inputs[0]])

    def attribute(self, name: str, default: Any) -> Any:  # noqa: ANN401 - the file's
        return self.layer.attributes.get(name, default)

    def has(self, place: int) -> bool:
        return len(self.layer.inputs) > place and self.layer.inputs[place] != ""

    def value(self, place: int = 0) -> Value:
        """Return an input that depends on the network's."""
        name = self.layer.inputs[place]
        if name in self.model.constants:
            raise UserError(f"input '{one_line(name, 100)}' is a constant")
        if name not in self.values:
            raise UserError(f"input '{one_line(name, 100)}' is a second output of another layer")
        return self.values[name]

    def constant(self, place: int) -> Dims:
        """Return the shape of an input that is a constant."""
        name = self.layer.inputs[place]
        if name not in self.model.constants:
            raise UserError(f"weights '{one_line(name, 100)}' are not a constant")
        return self.model.constants[name]

    def integers(self, attribute: str, place: int) -> list[int] | None:
        """Return numbers of an attribute, or of the input that took its place; None without."""
        if attribute in self.layer.attributes:
            return list(self.layer.attributes[attribute])
        if not self.has(place):
            return None
        name = self.layer.inputs[place]
        if name not in self.model.numbers:
            raise UserError(f"its {attribute} are not a constant of the file")
        return [int(number) for number in self.model.numbers[name]]


# Convolutions and matrices


def _convolution(call: _Call) -> Value:
    weights = call.constant(1)
    window = _window(call, call.attribute("kernel_shape", weights[2:]))
    groups = call.attribute("group", 1)
    return call.builder.convolution(
        call.name, call.value(), weights, window, groups=groups, bias=call.has(2)
    )


def _window(call: _Call, kernel: Sequence[int]) -> Window:
    if len(kernel) != 2:
        raise UserError(f"a kernel of {len(kernel)} dimensions; accepted: 2")
    strides = tuple(call.attribute("strides", (1, 1)))
    dilation = tuple(call.attribute("dilations", (1, 1)))
    pads = call.attribute("pads", (0, 0, 0, 0))
    before, behind = tuple(pads[:2]), tuple(pads[2:])
    scheme = call.attribute("auto_pad", b"NOTSET").decode()
    if scheme.startswith("SAME"):
        # As many places as the strides make of the image without its padding.
        image = call.value().shape[:2]
        totals = [
            max((-(-size // step) - 1) * step + (width - 1) * spread + 1 - size, 0)
            for size, step, width, spread in zip(image, strides, kernel, dilation, strict=True)
        ]
        small, large = tuple(n // 2 for n in totals), tuple(n - n // 2 for n in totals)
        before, behind = (small, large) if scheme == "SAME_UPPER" else (large, small)
    elif scheme == "VALID":
        before, behind = (0, 0), (0, 0)
    rows, cols = kernel
    return Window(
        (rows, cols), strides, before, behind, dilation, bool(call.attribute("ceil_mode", 0))
    )


def _gemm(call: _Call) -> Value:
    weights = call.constant(1)
    if call.dimensions != 2 or len(weights) != 2 or call.attribute("transA", 0):
        raise UserError("a product of matrices; accepted: of (batch, words) and a constant matrix")
    words, filters = reversed(weights) if call.attribute("transB", 0) else weights
    return call.builder.inner_product(call.name, call.value(), words, filters, bias=call.has(2))


def _batch_norm(call: _Call) -> Value:
    if call.attribute("training_mode", 0):
        raise UserError("a batch-norm in training mode; export the network in evaluation mode")
    dims = (*call.constant(1), *(1,) * (call.dimensions - 2))
    return call.builder.affine(call.name, call.value(), dims, call.dimensions, shift=True)


# Pooling


def _pool(*, average: bool) -> _Operation:
    def pool(call: _Call) -> Value:
        window = _window(call, call.attribute("kernel_shape", ()))
        return call.builder.pool(call.name, call.value(), window, average=average)

    return pool


def _global_pool(call: _Call) -> Value:
    return call.builder.global_pool(call.name, call.value())


def _mean(call: _Call) -> Value:
    axes = call.integers("axes", 1) or []
    if call.dimensions != 4 or {axis % 4 for axis in axes} != {2, 3}:
        raise UserError(f"a mean over axes {axes}; accepted: over rows and cols, 2 and 3")
    return call.builder.global_pool(call.name, call.value())


# One word at a time


def _relu(call: _Call) -> Value:
    return call.builder.relu(call.name, call.value())


def _clamp(call: _Call) -> Value:
    return call.builder.clamp(call.name, call.value())


def _hard_swish(call: _Call) -> Value:
    return call.builder.hard_swish(call.name, call.value())


def _hard_sigmoid(call: _Call) -> Value:
    return call.builder.hard_sigmoid(call.name, call.value())


def _eltwise(operation: str) -> _Operation:
    def eltwise(call: _Call) -> Value:
        places = range(len(call.layer.inputs))
        constants = [place for place in places if call.layer.inputs[place] in call.model.constants]
        if len(places) == 2 and constants:
            beside = call.layer.inputs[1 - constants[0]]
            return call.builder.affine(
                call.name,
                call.value(1 - constants[0]),
                call.constant(constants[0]),
                len(call.model.shapes[beside]),
                shift=operation == "add",
            )
        return call.builder.eltwise(call.name, operation, [call.value(place) for place in places])

    return eltwise


# Arrangements


def _concat(call: _Call) -> Value:
    if call.attribute("axis", 0) % call.dimensions != 1:
        raise UserError(f"a concatenation along axis {call.attribute('axis', 0)}; accepted: 1")
    return call.builder.concat(
        call.name, [call.value(place) for place in range(len(call.layer.inputs))]
    )


def _slice(call: _Call) -> Value:
    starts, ends, axes, steps = (
        call.integers(name, place) or []
        for place, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    spans = [slice(None)] * call.dimensions
    places, strides = axes or range(len(starts)), steps or [1] * len(starts)
    for place, start, end, step in zip(places, starts, ends, strides, strict=True):
        spans[place] = slice(start, end, step)
    return call.builder.part(call.name, call.value(), spans)


def _reshape(call: _Call) -> Value:
    return call.builder.reshape(call.value(), call.shape)


def _pad(call: _Call) -> Value:
    pads = call.integers("pads", 1) or []
    axes = call.integers("axes", 3) or list(range(call.dimensions))
    filling = call.attribute("value", 0) or any(call.integers("value", 2) or ())
    if filling or call.attribute("mode", b"constant") != b"constant":
        raise UserError("a padding with something else than zeros")
    half = len(pads) // 2
    before = dict(zip(axes, pads[:half], strict=True))
    behind = dict(zip(axes, pads[half:], strict=True))
    inner = [ends.pop(axis, 0) for axis in (1, 2, 3) for ends in (before, behind)]
    if call.dimensions != 4 or any((*before.values(), *behind.values())):
        raise UserError(f"a padding of {pads}; accepted: of channels, rows and cols, axes 1 to 3")
    first, last, top, bottom, left, right = inner
    x = call.builder.pad_channels(call.name, call.value(), first, last)
    return call.builder.pad(x, (top, left, bottom, right))


def _same(call: _Call) -> Value:
    return call.value()


def _softmax(call: _Call) -> Value:
    return call.builder.softmax(call.value())


_Operation = Callable[[_Call], Value]

_OPERATIONS: dict[str, _Operation] = {
    "Conv": _convolution,
    "Gemm": _gemm,
    "MatMul": _gemm,
    "BatchNormalization": _batch_norm,
    "MaxPool": _pool(average=False),
    "AveragePool": _pool(average=True),
    "GlobalAveragePool": _global_pool,
    "ReduceMean": _mean,
    "Relu": _relu,
    "Clip": _clamp,
    "HardSwish": _hard_swish,
    "HardSigmoid": _hard_sigmoid,
    "Add": _eltwise("add"),
    "Sum": _eltwise("add"),
    "Mul": _eltwise("mul"),
    "Concat": _concat,
    "Slice": _slice,
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Pad": _pad,
    "Dropout": _same,
    "Identity": _same,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
