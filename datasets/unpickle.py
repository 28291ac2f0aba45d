"""A pickle reader for files of strangers: containers, numbers and numpy arrays, nothing else.

Measured data is often published as a pickle, and a pickle is a program. This reader knows only
the few harmless calls that plain data needs, each replaced by a checked function of its own.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brpnas.datasets._files import existing_file
from brpnas.errors import UserError

__all__ = ["PLAIN_GLOBALS", "safe_load"]

_LIMIT_BYTES = 512 * 2**20
_DEEPEST_TUPLE = 50
_HEAVIEST_TUPLE = 10_000  # items to hash, where tuples or frozen sets are among them
_PLAIN_DTYPE = re.compile(r"[biufcSU]\d{1,4}")  # no objects, no structures


class _DType:
    """Stands in for numpy.dtype, whose own ``__setstate__`` trusts its input."""

    def __init__(self, spec: str, align: bool = False, copy: bool = False) -> None:  # noqa: ARG002
        if not isinstance(spec, str) or not _PLAIN_DTYPE.fullmatch(spec):
            raise UserError(f"refused numpy data type {str(spec)[:50]!r}")
        self.dtype: np.dtype[Any] = np.dtype(spec)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _PlainArray(np.ndarray[Any, Any]):
    """A numpy array whose state is checked, and which a pickle cannot make in any size."""

    def __new__(cls, *_args: object) -> _PlainArray:
        return np.ndarray.__new__(cls, (0,), np.int8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, stand_in, fortran, raw = state
        dtype = _dtype(stand_in)
        raw = _raw(raw)
        if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(raw):
            raise UserError(f"a numpy array of shape {shape} does not have {len(raw)} bytes")
        super().__setstate__((version, shape, dtype, bool(fortran), raw))  # type: ignore[arg-type]


def _dtype(stand_in: object) -> np.dtype[Any]:
    if type(stand_in) is not _DType:
        raise UserError("refused a numpy array or number without a plain data type")
    return stand_in.dtype


def _raw(content: object) -> bytes:
    # Python 2 wrote bytes as text.
    return content.encode("latin1") if isinstance(content, str) else bytes(memoryview(content))  # type: ignore[arg-type]


def _scalar(dtype: object, content: object = b"") -> object:
    number: object = np.frombuffer(_raw(content), _dtype(dtype), count=1)[0]
    return number


def _from_buffer(content: object, dtype: object, shape: Any, order: Any) -> object:  # noqa: ANN401
    return np.frombuffer(_raw(content), _dtype(dtype)).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise UserError(f"refused text encoding {str(encoding)[:50]!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """How protocols 0 to 2 write no bytes; the real one makes as many as it is told."""
    return b""


PLAIN_GLOBALS: Mapping[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _encode,
    "numpy.dtype": _DType,
    "numpy.ndarray": _PlainArray,
    **{
        f"{module}.{name}": kind
        for module in ("builtins", "__builtin__")
        for name, kind in (
            ("bytes", _empty_bytes),
            ("set", set),
            ("frozenset", frozenset),
            ("complex", complex),
        )
    },
    **{
        f"numpy.{core}.multiarray.{name}": function
        for core in ("core", "_core")  # numpy 1 and 2
        for name, function in (("_reconstruct", _PlainArray), ("scalar", _scalar))
    },
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
"""What plain data may call, by the name in the file, and what is called in its place."""


_BASE: Any = pickle._Unpickler  # its stubs leave out the dispatch table


def _load_build(unpickler: _Unpickler) -> None:
    # BUILD sets attributes: of anything else it could rewrite the stand-ins themselves.
    if type(unpickler.stack[-2]) not in (_DType, _PlainArray):
        raise UserError("refused to set attributes of an object")
    _BASE.dispatch[pickle.BUILD[0]](unpickler)


def _load_bytearray(unpickler: _Unpickler) -> None:
    # The base class makes an array of any length that the file names before it reads.
    (length,) = struct.unpack("<Q", unpickler.read(8))
    unpickler.append(bytearray(unpickler.read(length)))


def _bounded(load_tuple: Callable[[Any], None]) -> Callable[[_Unpickler], None]:
    """Bound the nesting of tuples and frozen sets, as keys and as items of others.

    Hashing one that is a million deep kills the process, and hashing or comparing one that is 50
    deep and holds each level twice never ends.
    """

    def load(unpickler: _Unpickler) -> None:
        load_tuple(unpickler)
        made = unpickler.stack[-1]
        if not isinstance(made, tuple | frozenset):
            return
        inner = [unpickler.sizes[id(x)] for x in made if id(x) in unpickler.sizes]
        depth = 1 + max((size.depth for size in inner), default=0)
        weight = 1 + len(made) - len(inner) + sum(size.weight for size in inner)
        if depth > _DEEPEST_TUPLE:
            raise UserError(f"tuples nested more than {_DEEPEST_TUPLE} deep")
        if inner and weight > _HEAVIEST_TUPLE:
            raise UserError(f"nested tuples of more than {_HEAVIEST_TUPLE} items")
        unpickler.sizes[id(made)] = _Size(depth, weight, made)

    return load


class _Size(NamedTuple):
    """How deep a tuple is nested and how many items it has at all depths."""

    depth: int
    weight: int
    made: object  # kept alive, so that its id stays its own


class _Unpickler(_BASE):  # type: ignore[misc]
    """Python's own reader in Python, which is slower and keeps its memo in a dict.

    The one in C makes its memo as long as the largest index in the file, so that ten bytes can
    ask for 64 GB, and has no way to restrict BUILD.
    """

    stack: list[Any]
    dispatch = {  # noqa: RUF012 - the name and the type are the base class's
        **_BASE.dispatch,
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray,
        **{
            code[0]: _bounded(_BASE.dispatch[code[0]])
            for code in (
                *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.FROZENSET),
                *(pickle.REDUCE, pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
            )
        },
    }

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.sizes: dict[int, _Size] = {}

    def find_class(self, module: str, name: str) -> object:
        full = f"{module}.{name}"
        if full not in PLAIN_GLOBALS:
            raise UserError(
                f"refused '{full[:200]}': only containers, numbers and numpy arrays are read"
            )
        return PLAIN_GLOBALS[full]


def safe_load(source: Path | bytes, name: str = "pickle") -> object:
    """Read a pickle that may come from anybody.

    Args:
        source: a file, or the pickle itself.
        name: what errors call the content, where ``source`` is not a file.

    Returns:
        Containers, numbers, text, bytes and numpy arrays.

    Raises:
        UserError: no such file, a file over 512 MiB, a damaged pickle, or one that holds anything
            else; nothing of it has run then, and the error names what was refused.
    """
    if isinstance(source, Path):
        name = str(source)
        size = existing_file(source).stat().st_size
        if size > _LIMIT_BYTES:
            raise UserError(f"{name}: {size} bytes are more than the {_LIMIT_BYTES} accepted")
        source = source.read_bytes()
    try:
        content: object = _Unpickler(source).load()
        return content
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except Exception as error:  # noqa: BLE001 - arbitrary bytes can raise anything
        kind = type(error).__name__
        raise UserError(f"{name}: a damaged pickle, or none ({kind}: {str(error)[:100]})") from None
