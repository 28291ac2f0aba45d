"""The project's own writer of TFLite flatbuffers: fast, for convolutional networks."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

import brpnas
from brpnas.devices.tflite import schema
from brpnas.devices.tflite.graph import Node
from brpnas.devices.tflite.model import TFLiteModel
from brpnas.devices.tflite.simplify import simplify
from brpnas.devices.tflite.tracing import trace
from brpnas.errors import UserError

__all__ = ["MAKER", "write"]

MAKER = f"brpnas {brpnas.__version__}"

_OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DIV": "DivOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "HARD_SWISH": "HardSwishOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "RESHAPE": "ReshapeOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SUB": "SubOptions",
    "TRANSPOSE": "TransposeOptions",
}
"""By operator, the table of the schema that holds its options. The others have none."""

_OFTEN = {
    "Buffer": ((4,), struct.Struct("<iI"), ((0, 4),)),
    "Tensor": ((4, 16, 8, 12), struct.Struct("<iIIIb3x"), ((0, 4), (2, 12))),
    "Operator": (
        (4, 8, 12, 20, 16),
        struct.Struct("<iIIIIB3x"),
        ((1, 8), (2, 12), (3, 16)),
    ),
}
"""By table of the schema: at which byte each field is, how they are packed behind the offset of
the table's listing, and (index, byte) of the values that are offsets."""

_ALIGNMENT = 16
"""Bytes; the schema asks for it in buffers."""
_SMALL = 4096
"""Bytes up to which equal constants are worth looking for."""


def write(module: nn.Module, example_input: Tensor, name: str) -> TFLiteModel:
    """Write a torch module in evaluation mode as a TFLite model, in float32.

    Input and output have the shapes that they have in torch: images come as (batch, channels,
    height, width).

    Args:
        module: any module that maps one tensor to one tensor; it is left as it was.
        example_input: gives the shape; its values do not matter.
        name: of the model, for tables and errors.

    Raises:
        UnsupportedError: names the layer that cannot be written.
        UserError: the output does not depend on the input; the extra ``measure`` is missing.
    """
    graph, output = trace(module, example_input, name)
    nodes, output = simplify(graph, output)
    if not nodes:
        raise UserError(f"model '{name}' computes nothing: its output is its input")
    constants = [one.value for node in nodes for one in node.inputs if one.value is not None]
    size = sum(value.nbytes + 128 for value in constants) + 512 * len(nodes) + 4096
    return TFLiteModel(name, _Flatbuffer(size).build(nodes, graph.input, output), MAKER)


class _Flatbuffer:
    """Packs one model. Equal shapes, options and small constants are stored once.

    Args:
        size: of the model, in bytes; the builder moves everything when it has to grow.
    """

    def __init__(self, size: int) -> None:
        self._schema = schema.tables()
        self._builder = schema.builder(size)
        self._builder.minalign = _ALIGNMENT
        self._stored: dict[Any, int] = {}
        self._tensors: list[int] = []
        self._buffers: list[int] = []
        self._places: dict[int, int] = {}
        self._codes: dict[str, int] = {}

    def build(self, nodes: Sequence[Node], source: Node, output: Node) -> bytes:
        self._buffers.append(self._table("Buffer"))  # by convention the first one is empty
        self._place(source, "input")
        operators = [self._operator(node, "output" if node is output else "") for node in nodes]
        ends = {"input": self._places[id(source)], "output": self._places[id(output)]}
        subgraph = self._table(
            "SubGraph",
            Name=self._text("main"),
            Tensors=self._offsets(self._tensors),
            Operators=self._offsets(operators),
            Inputs=self._integers([ends["input"]]),
            Outputs=self._integers([ends["output"]]),
        )
        # Static quantisation finds inputs and outputs by the names in the signature.
        maps = {
            name: self._offsets(
                [self._table("TensorMap", Name=self._text(name), TensorIndex=place)]
            )
            for name, place in ends.items()
        }
        signature = self._table(
            "SignatureDef",
            SignatureKey=self._text("serving_default"),
            Inputs=maps["input"],
            Outputs=maps["output"],
        )
        model = self._table(
            "Model",
            Version=schema.VERSION,
            Description=self._text(MAKER),
            OperatorCodes=self._offsets([self._code(kind) for kind in self._codes]),
            Subgraphs=self._offsets([subgraph]),
            Buffers=self._offsets(self._buffers),
            SignatureDefs=self._offsets([signature]),
        )
        self._builder.Finish(model, schema.IDENTIFIER)
        return bytes(memoryview(self._builder.Bytes)[self._builder.Head() :])

    def _operator(self, node: Node, name: str) -> int:
        inputs = [self._place(one) for one in node.inputs]
        output = self._place(node, name)
        index = self._codes.setdefault(node.kind, len(self._codes))
        ends = self._integers(inputs), self._integers([output])
        table = _OPTIONS.get(node.kind)
        if table is None:
            return self._table("Operator", OpcodeIndex=index, Inputs=ends[0], Outputs=ends[1])
        kind = getattr(self._schema.BuiltinOptions, table)
        return self._often("Operator", index, *ends, self._options(table, node), kind)

    def _options(self, table: str, node: Node) -> int:
        key = (table, node.options, node.activation)
        if key not in self._stored:
            fields = dict(node.options)
            if "Padding" in fields:
                fields["Padding"] = getattr(self._schema.Padding, fields["Padding"])
            if node.activation != "NONE":
                kinds = self._schema.ActivationFunctionType
                fields["FusedActivationFunction"] = getattr(kinds, node.activation)
            self._stored[key] = self._table(table, **fields)
        return self._stored[key]

    def _place(self, node: Node, name: str = "") -> int:
        """Return the index of a value's tensor; made when it is first asked for."""
        if id(node) not in self._places:
            place = self._places[id(node)] = len(self._tensors)
            value = node.value
            kinds = self._schema.TensorType
            integer = value is not None and value.dtype == np.int32
            shape = self._integers(node.shape)
            buffer = 0 if value is None else self._buffer(value)
            text = (name or f"t{place}").encode()
            label = self._vector(text + b"\0", len(text), 4)
            kind = kinds.INT32 if integer else kinds.FLOAT32
            self._tensors.append(self._often("Tensor", shape, buffer, label, kind))
        return self._places[id(node)]

    def _buffer(self, value: NDArray[Any]) -> int:
        data = value.reshape(-1).view(np.uint8).data  # weights are copied once only
        key = bytes(data) if len(data) <= _SMALL else None
        if key is not None and key in self._stored:
            return self._stored[key]
        vector = self._vector(data, len(data), _ALIGNMENT)
        self._buffers.append(self._often("Buffer", vector))
        if key is not None:
            self._stored[key] = len(self._buffers) - 1
        return len(self._buffers) - 1

    def _code(self, kind: str) -> int:
        code = getattr(self._schema.BuiltinOperator, kind)
        # The first field is all that readers knew before there were more than 127 operators.
        return self._table(
            "OperatorCode", DeprecatedBuiltinCode=min(code, 127), BuiltinCode=code, Version=1
        )

    def _table(self, kind: str, **fields: Any) -> int:  # noqa: ANN401 - by the schema
        _function(f"{kind}Start")(self._builder)
        for name, value in fields.items():
            _function(f"{kind}Add{name}")(self._builder, value)
        return int(_function(f"{kind}End")(self._builder))

    def _text(self, text: str) -> int:
        return int(self._builder.CreateString(text))

    def _integers(self, values: Sequence[int]) -> int:
        key = ("integers", tuple(values))
        if key not in self._stored:
            self._stored[key] = self._vector(
                struct.pack(f"<{len(values)}i", *values), len(values), 4
            )
        return self._stored[key]

    def _vector(self, data: bytes | memoryview, count: int, alignment: int) -> int:
        self._prepend(bytes(-(self._builder.Offset() + len(data)) % alignment))
        self._prepend(data)
        return self._prepend(struct.pack("<I", count))

    def _often(self, kind: str, *values: int) -> int:
        """Pack a table of which there are hundreds: the library takes ten times as long.

        Offsets among the values are as the builder counts them: from the end of the file.
        """
        slots, packing, offsets = _OFTEN[kind]
        size = packing.size
        if kind not in self._stored:
            ends = (4 + 2 * len(slots), size)
            self._prepend(bytes(-self._builder.Offset() % 4))
            self._stored[kind] = self._prepend(struct.pack(f"<{len(slots) + 2}H", *ends, *slots))
        start = self._builder.Offset()
        padding = -start % 4
        start += padding + size
        fields = list(values)
        for place, byte in offsets:  # in the file they are relative to where they stand
            fields[place] = start - byte - fields[place]
        listing = self._stored[kind] - start
        return self._prepend(packing.pack(listing, *fields) + bytes(padding))

    def _prepend(self, data: bytes | memoryview) -> int:
        """Put bytes before all others; return where they begin, counted from the end."""
        flat = self._builder
        flat.Prep(1, len(data))  # room
        flat.head -= len(data)
        flat.Bytes[flat.head : flat.head + len(data)] = data
        return int(flat.Offset())

    def _offsets(self, offsets: Sequence[int]) -> int:
        flat = self._builder
        flat.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            flat.PrependUOffsetTRelative(offset)
        return int(flat.EndVector())


@functools.cache
def _function(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(schema.tables(), name)
    return found
