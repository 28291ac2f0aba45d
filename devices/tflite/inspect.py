"""Read what a TFLite file says about itself, without running it and without trusting it.

The reader follows the flatbuffer's own rules (https://flatbuffers.dev/internals) and the field
numbers of TFLite's schema, which never change. Every offset is checked before it is followed, and
the work is bounded, so a damaged or hostile file is an error and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brpnas.devices.tflite.schema import IDENTIFIER, VERSION
from brpnas.errors import UserError

__all__ = ["Facts", "TensorFacts", "check", "facts"]

# fmt: off
_TYPES = (
    "FLOAT32", "FLOAT16", "INT32", "UINT8", "INT64", "STRING", "BOOL", "INT16", "COMPLEX64", "INT8",
    "FLOAT64", "COMPLEX128", "UINT64", "RESOURCE", "VARIANT", "UINT32", "UINT16", "INT4",
    "BFLOAT16", "INT2", "UINT4", "FLOAT8_E4M3FN", "FLOAT8_E5M2",
)
# fmt: on
"""Of tensors, in the order of the schema."""
_INTEGERS = {"INT8", "UINT8", "INT16", "INT4", "INT2", "UINT4"}
"""Types that hold weights and activations in quantised models only."""


@dataclass(frozen=True)
class TensorFacts:
    """An input or output.

    Attributes:
        name: as the file has it.
        shape: -1 where the size is not fixed.
        dtype: such as ``FLOAT32`` or ``INT8``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Facts:
    """What a file says about its main graph.

    Attributes:
        inputs: in order.
        outputs: in order.
        operators: how many there are.
        dynamic: names of tensors whose shape is not fixed.
        quantised: whether any tensor is of a type that only quantised models have.
        signature: key of the first signature and the name that it gives the first input.
    """

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    operators: int
    dynamic: tuple[str, ...]
    quantised: bool
    signature: tuple[str, str] | None


def check(content: bytes, name: str) -> Facts:
    """Return a model's facts, or say why it cannot be measured.

    Raises:
        UserError: the file is damaged or no TFLite model, or has dynamic shapes.
    """
    seen = facts(content, name)
    if seen.dynamic:
        raise UserError(
            f"model '{name}' has dynamic shapes (tensor '{seen.dynamic[0][:80]}'); convert it "
            "again with fixed ones, such as batch 1"
        )
    if not seen.inputs or not seen.outputs or not seen.operators:
        raise UserError(f"model '{name}' has no input, no output or no operator")
    return seen


def facts(content: bytes, name: str) -> Facts:
    """Read a TFLite flatbuffer.

    Args:
        content: of the file.
        name: what errors call it.

    Raises:
        UserError: the content is damaged, or no TFLite model.
    """
    if not content:
        raise UserError(f"model '{name}' is empty; get or convert it again")
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        raise UserError(
            f"model '{name}' is no TFLite file (bytes 4 to 8 are not {IDENTIFIER.decode()}); "
            "TensorFlow and ONNX models have to be converted first"
        )
    try:
        model = _Reader(content).table(0, _MODEL)
        if model.get("version") != VERSION:
            raise _DamagedError(f"version {model.get('version')}, not {VERSION}")
        return _main_graph(model)
    except (_CutOffError, struct.error) as error:
        raise UserError(
            f"model '{name}' is cut off: it leads to places after its {len(content):,} bytes; get "
            "or convert it again"
        ) from error
    except (_DamagedError, UnicodeDecodeError, IndexError) as error:
        raise UserError(f"model '{name}' is damaged: {error}; get or convert it again") from error


class _DamagedError(Exception):
    pass


class _CutOffError(Exception):
    pass


Kind = Callable[["_Reader", int], Any]
Fields = Mapping[int, tuple[str, Kind]]


def _main_graph(model: Mapping[str, Any]) -> Facts:
    graphs, codes, buffers = (model.get(key, []) for key in ("subgraphs", "codes", "buffers"))
    if not graphs or not buffers:
        raise _DamagedError("no graph")
    for graph in graphs:
        tensors, operators = graph.get("tensors", []), graph.get("operators", [])
        used = [
            index
            for one in operators
            for key in ("inputs", "outputs")
            for index in one.get(key, ())
        ]
        _within("tensor", [i for i in used if i != -1], tensors)  # -1: an optional input, not given
        _within("tensor", [*graph.get("inputs", ()), *graph.get("outputs", ())], tensors)
        _within("operator code", [one.get("code", 0) for one in operators], codes)
        _within("buffer", [one.get("buffer", 0) for one in tensors], buffers)
        _within("type", [one.get("type", 0) for one in tensors], _TYPES)
    main = graphs[0]
    tensors = [_tensor(one) for one in main.get("tensors", [])]
    signature = None
    for one in model.get("signatures", []):
        if one.get("inputs") and signature is None:
            signature = (one.get("key", ""), one["inputs"][0].get("name", ""))
    return Facts(
        inputs=tuple(tensors[index] for index in main.get("inputs", ())),
        outputs=tuple(tensors[index] for index in main.get("outputs", ())),
        operators=len(main.get("operators", [])),
        dynamic=tuple(tensor.name for tensor in tensors if min(tensor.shape, default=0) < 0),
        quantised=any(tensor.dtype in _INTEGERS for tensor in tensors),
        signature=signature,
    )


def _tensor(fields: Mapping[str, Any]) -> TensorFacts:
    shape = fields.get("signature") or fields.get("shape", ())
    return TensorFacts(fields.get("name", ""), tuple(shape), _TYPES[fields.get("type", 0)])


def _within(what: str, indices: Sequence[int], items: Sequence[Any]) -> None:
    for index in indices:
        if not 0 <= index < len(items):
            raise _DamagedError(f"{what} {index} of {len(items)}")


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._budget = len(content)  # tables and items to visit; no honest file comes near

    def number(self, form: str, place: int) -> int:
        if place < 0:
            raise _DamagedError(f"offset {place}")
        (value,) = struct.unpack_from(form, self._content, place)
        return int(value)

    def table(self, place: int, fields: Fields) -> dict[str, Any]:
        """Read the table that the offset at ``place`` leads to."""
        self._spend(1)
        start = place + self.number("<I", place)
        listing = start - self.number("<i", start)
        listed, size = self.number("<H", listing), self.number("<H", listing + 2)
        if listed < 4:
            raise _DamagedError(f"table at byte {start}")
        if max(listing + listed, start + size) > len(self._content):
            raise _CutOffError
        found = {}
        for slot, (name, kind) in fields.items():
            entry = 4 + 2 * slot
            where = self.number("<H", listing + entry) if entry + 2 <= listed else 0
            if where:
                found[name] = kind(self, start + where)
        return found

    def extent(self, place: int, item_bytes: int) -> tuple[int, int]:
        """Return where the vector's items begin, and how many there are."""
        start = place + self.number("<I", place)
        count = self.number("<I", start)
        if start + 4 + count * item_bytes > len(self._content):
            raise _CutOffError
        return start + 4, count

    def integers(self, place: int) -> tuple[int, ...]:
        start, count = self.extent(place, 4)
        self._spend(count)
        return struct.unpack_from(f"<{count}i", self._content, start)

    def text(self, place: int) -> str:
        start, count = self.extent(place, 1)
        self._spend(count)
        return self._content[start : start + count].decode()

    def tables(self, place: int, fields: Fields) -> list[dict[str, Any]]:
        start, count = self.extent(place, 4)
        return [self.table(start + 4 * index, fields) for index in range(count)]

    def bytes_inside(self, place: int) -> int:
        return self.extent(place, 1)[1]

    def _spend(self, steps: int) -> None:
        self._budget -= steps
        if self._budget < 0:
            raise _DamagedError("it leads to the same places too often")


def _scalar(form: str) -> Kind:
    return lambda reader, place: reader.number(form, place)


def _tables(fields: Fields) -> Kind:
    return lambda reader, place: reader.tables(place, fields)


# Field numbers and types of TFLite's schema; what is not listed is not looked at.
_TENSOR: Fields = {
    0: ("shape", _Reader.integers),
    1: ("type", _scalar("<b")),
    2: ("buffer", _scalar("<I")),
    3: ("name", _Reader.text),
    7: ("signature", _Reader.integers),
}
_OPERATOR: Fields = {
    0: ("code", _scalar("<I")),
    1: ("inputs", _Reader.integers),
    2: ("outputs", _Reader.integers),
    4: ("options", lambda reader, place: reader.table(place, {})),
    5: ("custom", _Reader.bytes_inside),
}
_SUBGRAPH: Fields = {
    0: ("tensors", _tables(_TENSOR)),
    1: ("inputs", _Reader.integers),
    2: ("outputs", _Reader.integers),
    3: ("operators", _tables(_OPERATOR)),
    4: ("name", _Reader.text),
}
_TENSOR_NAME: Fields = {0: ("name", _Reader.text), 1: ("tensor", _scalar("<I"))}
_MODEL: Fields = {
    0: ("version", _scalar("<I")),
    1: ("codes", _tables({1: ("custom", _Reader.text)})),
    2: ("subgraphs", _tables(_SUBGRAPH)),
    3: ("description", _Reader.text),
    4: ("buffers", _tables({0: ("data", _Reader.bytes_inside)})),
    6: ("metadata", _tables({0: ("name", _Reader.text)})),
    7: (
        "signatures",
        _tables(
            {
                0: ("inputs", _tables(_TENSOR_NAME)),
                1: ("outputs", _tables(_TENSOR_NAME)),
                2: ("key", _Reader.text),
            }
        ),
    ),
}
