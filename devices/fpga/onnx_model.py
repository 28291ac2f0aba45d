"""ONNX files: what is in one, checked, with the shape of every value and without weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError, extra_hint, one_line

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

__all__ = ["Dims", "OnnxLayer", "OnnxModel", "load_onnx"]

_MOST_BYTES = 2**31 - 1  # that protobuf reads
_FEW = 1024  # numbers of a constant that may be an operation's axes or pads
_PASSES = 50  # of inference; in each it gets to the next shape that the graph computes
_OF_SHAPES = (
    *("Constant", "ConstantOfShape", "Shape", "Gather", "Cast", "Concat", "Slice", "Transpose"),
    *("Reshape", "Squeeze", "Unsqueeze", "Add", "Sub", "Mul", "Div"),
)
"""Exporters compute shapes and paddings with them."""

Dims = tuple[int, ...]
Array = NDArray[Any]


@dataclass(frozen=True)
class OnnxLayer:
    """An operation on what depends on the input.

    Attributes:
        name: its own, or that of its first output.
        kind: the operation.
        inputs: names of values; empty for one that is left out.
        outputs: names of values.
        attributes: by name.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"layer '{one_line(self.name, 100)}', of type {one_line(self.kind, 50)}"


@dataclass(frozen=True)
class OnnxModel:
    """What is in a file.

    Attributes:
        input: name of the one input.
        outputs: names of the outputs.
        layers: in an order in which they can run.
        shapes: of values, where they are known.
        constants: shapes of the values that do not depend on the input.
        numbers: of small constants.
    """

    input: str
    outputs: tuple[str, ...]
    layers: tuple[OnnxLayer, ...]
    shapes: Mapping[str, Dims]
    constants: Mapping[str, Dims]
    numbers: Mapping[str, tuple[float, ...]]


def load_onnx(path: Path, known: Collection[str]) -> OnnxModel:
    """Read and check a file; a batch of any number becomes 1.

    Args:
        path: of the file.
        known: operations that are accepted.

    Raises:
        UserError: it cannot be read, is damaged, or is no valid model; it has an operation that
            is not known, several inputs, or one of which a size is not fixed. Or the extra
            ``onnx`` is missing.
    """
    model = _parse(path)
    try:
        return _model(model, known)
    except UserError:
        raise
    except Exception as error:  # of the checker, of shape inference, of a damaged constant
        raise UserError(f"not a valid ONNX model: {one_line(error)}") from error


def _parse(path: Path) -> ModelProto:
    try:
        from onnx import ModelProto
    except ImportError:
        raise UserError(f"ONNX files need onnx: {extra_hint('onnx')}") from None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(
                "larger than 2 GB, the most that an ONNX file may hold; save it with its weights "
                "as external data"
            )
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from None
    try:
        model = ModelProto()
        model.ParseFromString(content)
    except Exception as error:  # each of protobuf's implementations has its own
        raise UserError("not an ONNX file, or a damaged one") from error
    if not model.graph.node:
        raise UserError("not an ONNX file, or one without layers")
    return model


def _model(model: ModelProto, known: Collection[str]) -> OnnxModel:
    from onnx import checker

    for node in model.graph.node:
        _check_operation(node, known, (*known, *_OF_SHAPES))
    constants = _drop_weights(model.graph)
    inputs = [one for one in model.graph.input if one.name not in constants]
    if len(inputs) != 1:
        raise UserError(f"a model of {len(inputs)} inputs; accepted: one")
    _fix_sizes(inputs[0])
    checker.check_model(model)
    shapes, numbers = _shapes(model)
    constants.update({name: array.shape for name, array in numbers.items()})
    layers = []
    for node in model.graph.node:
        layer = _layer(node)
        if layer.kind == "Shape" or all(name in constants or not name for name in layer.inputs):
            constants.update({name: shapes.get(name, ()) for name in layer.outputs})
        else:
            _check_operation(node, known, known)
            layers.append(layer)
    outputs = tuple(one.name for one in model.graph.output)
    plain = {name: tuple(array.ravel().tolist()) for name, array in numbers.items()}
    return OnnxModel(inputs[0].name, outputs, tuple(layers), shapes, constants, plain)


def _check_operation(node: NodeProto, known: Collection[str], accepted: Collection[str]) -> None:
    kind = node.op_type
    if node.domain in ("", "ai.onnx") and kind in accepted:
        return
    shown = ", ".join(known)
    if "quant" in kind.lower() or kind.startswith("QLinear") or kind.endswith("Integer"):
        shown = "networks that are not quantised; the length of words is chosen when one is mapped"
    raise UserError(f"{_layer(node)}: an FPGA has no layer for it; accepted: {shown}")


def _drop_weights(graph: GraphProto) -> dict[str, Dims]:
    """Return the constants' shapes, and make inputs of large ones: nothing has to copy them."""
    from onnx import helper

    inputs = {one.name for one in graph.input}
    constants: dict[str, Dims] = {}
    few: list[TensorProto] = []
    for tensor in graph.initializer:
        dims = constants[tensor.name] = tuple(tensor.dims)
        if math.prod(dims) <= _FEW and tensor.data_location != tensor.EXTERNAL:
            few.append(tensor)
        elif tensor.name not in inputs:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, dims)
            graph.input.append(info)
    del graph.initializer[:]
    graph.initializer.extend(few)
    return constants


def _fix_sizes(value: ValueInfoProto) -> None:
    """Make one image of a batch of any number; refuse other sizes that are not fixed."""
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.dim_value < 1:
            if axis:
                called = f" ('{one_line(dim.dim_param, 50)}')" if dim.dim_param else ""
                raise UserError(
                    f"input '{one_line(value.name, 100)}': the size along axis {axis}{called} is "
                    "not fixed; accepted: fixed ones, but for the batch's"
                )
            dim.dim_value = 1


def _shapes(model: ModelProto) -> tuple[dict[str, Dims], dict[str, Array]]:
    """Return the shapes of values and the numbers of small constants, as far as they are known.

    What the graph computes from shapes and small constants becomes a constant of it.
    """
    from onnx import numpy_helper, shape_inference

    # Those that the file gives may be of another batch, or wrong.
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    numbers = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    for _ in range(_PASSES):
        graph = shape_inference.infer_shapes(model, strict_mode=True).graph
        shapes = {
            one.name: tuple(dim.dim_value for dim in one.type.tensor_type.shape.dim)
            for one in (*graph.input, *graph.value_info, *graph.output)
            if one.type.tensor_type.HasField("shape")
        }
        shapes = {name: dims for name, dims in shapes.items() if 0 not in dims}  # 0: not known
        left = []
        for node in model.graph.node:
            found = _computed(node, model, shapes, numbers)
            if found is None:
                left.append(node)
            else:
                numbers[node.output[0]] = found
                model.graph.initializer.append(numpy_helper.from_array(found, node.output[0]))
        if len(left) == len(model.graph.node):
            break
        del model.graph.node[:]
        model.graph.node.extend(left)
    return shapes, numbers


def _computed(
    node: NodeProto, model: ModelProto, shapes: Mapping[str, Dims], numbers: Mapping[str, Array]
) -> Array | None:
    """Return what an operation makes of small constants or of a shape; None where not known."""
    from onnx import TypeProto, helper
    from onnx.reference import ReferenceEvaluator

    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Shape":
        dims = shapes.get(node.input[0])
        ends = attributes.get("start"), attributes.get("end")
        return None if dims is None else np.array(dims[slice(*ends)], dtype=np.int64)
    if node.op_type not in _OF_SHAPES or any(name not in numbers for name in node.input if name):
        return None
    if node.op_type == "Constant" and not _is_small(next(iter(attributes.values()))):
        return None
    if node.op_type == "ConstantOfShape" and math.prod(numbers[node.input[0]].tolist()) > _FEW:
        return None
    ins, outs = (
        [helper.make_value_info(name, TypeProto()) for name in names if name]
        for names in (node.input, node.output)
    )
    alone = helper.make_model(
        helper.make_graph([node], "constant", ins, outs), opset_imports=model.opset_import
    )
    with np.errstate(all="ignore"):
        (found, *_) = ReferenceEvaluator(alone).run(None, {n: numbers[n] for n in node.input if n})
    array = np.asarray(found)
    return array if array.size <= _FEW and array.dtype.kind in "iuf" else None


def _is_small(value: object) -> bool:
    """Whether an attribute is a tensor of few numbers that are in the file, or a plain value."""
    from onnx import TensorProto

    if isinstance(value, TensorProto):
        return math.prod(value.dims) <= _FEW and value.data_location != value.EXTERNAL
    return not isinstance(value, bytes)


def _layer(node: NodeProto) -> OnnxLayer:
    from onnx import helper

    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    name = _printable(node.name or next(iter(node.output), "") or node.op_type)
    return OnnxLayer(
        name, _printable(node.op_type), tuple(node.input), tuple(node.output), attributes
    )


def _printable(text: object) -> str:
    """Return a name of the file's without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))
