"""Ways to damage files, drawn by hypothesis: the one place where tests damage them."""

# ruff: noqa: S608 - tables and columns of files that tests made
from __future__ import annotations

import bz2
import io
import json
import os
import pickle
import re
import sqlite3
import struct
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import torch
from hypothesis import strategies as st

MARK = "pwned"
"""The file that hostile content would make, if anything of it ran."""


class _Call:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def _torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


_CALLS = (_Call(os.system, f"touch {MARK}"), _Call(eval, f"open({MARK!r}, 'w')"))
PAYLOADS = (
    *(pickle.dumps(call, protocol) for call in _CALLS for protocol in (0, 2, 4)),
    *map(_torch_file, _CALLS),
    bz2.compress(pickle.dumps(_CALLS[0])),
)
_TEXTS = (
    *("", "0", "-1", str(2**63 - 1), str(2**64), "9" * 400, "nan", "arch", "a" * 10_000, "\0"),
    *("../../pwned", f"$(touch {MARK})", f"'; touch {MARK} #", "%s{0}", "é\u202e\U0001f600"),
)
_DEEP: Any = []
for _ in range(60):
    _DEEP = [_DEEP]
_WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, 10**400, 0.5, 1e308, -0.0),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [None], [0], [1, "a"], {"a": 1}, _DEEP),
    *_TEXTS,
)
_ODD = (
    *(b"", b"\xff", (), (1, 2), {1}, 1j, np.float32(2), np.zeros(0), np.arange(3), torch.ones(2)),
    *_CALLS,
)
"""What pickles may hold besides."""
_LITERALS = (
    *(b"9" * 5000, b"-9e999", b"NaN", b"null", b"true", b'"x"', b"[" * 100_000, b'{"a":' * 1000),
    *(b"0x7f", b"1979-05-27", b"", b",", b'"', b"\xff\xfe", b"\0", b"[]", b"{}"),
)
_NUMBERS = tuple(
    struct.pack(kind, value)
    for kind, values in (
        ("<Q", (0, 1, 2**31, 2**40, 2**63, 2**64 - 1)),
        ("<I", (0, 1, 2**16, 2**31, 2**32 - 1)),
        (">I", (1, 2**31, 2**32 - 1)),
        ("<f", (float("nan"), float("inf"))),
    )
    for value in values
)
_GONE = object()


def damaged(data: st.DataObject, content: bytes, suffix: str) -> bytes:
    """Return content that was cut, changed in some bytes, or in what its bytes mean.

    Args:
        data: draws what is done.
        content: of a whole file.
        suffix: of its name, by which its structure is known.
    """
    known = _STRUCTURES.get(suffix, ())
    # What its bytes mean is changed more often: other damage mostly ends in the same few checks.
    change = data.draw(st.sampled_from((_bytes, *known, *known)), label="damage")
    return change(data, content)


def _bytes(data: st.DataObject, content: bytes) -> bytes:
    size = len(content)
    at = data.draw(st.integers(0, size), label="at")
    length = data.draw(st.sampled_from((0, 1, 2, 4, 8, 100, size)), label="length")
    head, cut, tail = content[:at], content[at : at + length], content[at + length :]
    kind = data.draw(
        st.sampled_from(("cut", "drop", "twice", "flip", "fill", "number", "random", "payload"))
    )
    if kind == "cut":
        return head
    if kind == "drop":
        return head + tail
    if kind == "twice":
        return head + cut + cut + tail
    if kind == "flip":
        mask = data.draw(st.integers(1, 255))
        return head + bytes([content[at] ^ mask]) + content[at + 1 :] if at < size else head
    if kind == "fill":
        return head + data.draw(st.sampled_from((b"\0", b"\xff", b"a", b"\n"))) * len(cut) + tail
    if kind == "number":
        number = data.draw(st.sampled_from(_NUMBERS))
        return head + number + content[at + len(number) :]
    if kind == "random":
        return head + data.draw(st.binary(max_size=64)) + tail
    return data.draw(st.sampled_from(PAYLOADS)) + data.draw(st.sampled_from((b"", tail)))


def _text(data: st.DataObject, content: bytes) -> bytes:
    """Put something else in the place of one word or number of a text."""
    words = list(re.finditer(rb'"[^"\n]*"|[\w.+-]+', content))
    if not words:
        return b""
    word = data.draw(st.sampled_from(words))
    literal = data.draw(st.sampled_from(_LITERALS))
    return content[: word.start()] + literal + content[word.end() :]


def confused(data: st.DataObject, tree: Any, odd: tuple[Any, ...] = ()) -> Any:
    """Return a tree of containers in which one value is left out, or another one stands for it."""
    path = data.draw(st.sampled_from(_paths(tree)))
    value = data.draw(st.sampled_from(("other", "wrong", "wrong", "gone")))
    if value == "other":
        new = _at(tree, data.draw(st.sampled_from(_paths(tree))))
    else:
        new = _GONE if value == "gone" else data.draw(st.sampled_from((*_WRONG, *odd)))
    made = _with(tree, path, new)
    return None if made is _GONE else made


def _paths(tree: Any) -> list[tuple[Any, ...]]:
    items: Any = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    return [(), *((key, *path) for key, value in items for path in _paths(value))]


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _with(tree: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    if isinstance(tree, dict):
        made = {k: _with(v, path[1:], new) if k == path[0] else v for k, v in tree.items()}
        return {k: v for k, v in made.items() if v is not _GONE}
    items = [_with(v, path[1:], new) if k == path[0] else v for k, v in enumerate(tree)]
    return type(tree)(v for v in items if v is not _GONE)


def _json(data: st.DataObject, content: bytes) -> bytes:
    return json.dumps(confused(data, json.loads(content))).encode()


def _toml(data: st.DataObject, content: bytes) -> bytes:
    tree = confused(data, tomllib.loads(content.decode()))
    rows = tree.items() if isinstance(tree, dict) else [("x", tree)]
    return "".join(f"{json.dumps(key)} = {_as_toml(value)}\n" for key, value in rows).encode()


def _as_toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {_as_toml(one)}" for key, one in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"
    return str(value) if isinstance(value, float) else json.dumps(value)


def _pickle(data: st.DataObject, content: bytes) -> bytes:
    return pickle.dumps(confused(data, pickle.loads(content), _ODD), data.draw(st.integers(2, 5)))


def _bz2(data: st.DataObject, content: bytes) -> bytes:
    inner = bz2.decompress(content)
    return bz2.compress(data.draw(st.sampled_from((_bytes, _pickle)))(data, inner))


def _torch(data: st.DataObject, content: bytes) -> bytes:
    return _torch_file(confused(data, torch.load(io.BytesIO(content), weights_only=True), _ODD))


def _zip(data: st.DataObject, content: bytes) -> bytes:
    """Damage one member; the archive itself stays whole."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(members)))
    change = _json if name.endswith(".json") and data.draw(st.booleans()) else _bytes
    members[name] = change(data, members[name])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return buffer.getvalue()


def _array(data: st.DataObject, array: Any) -> Any:
    """Return an array of another type, shape or range."""
    return data.draw(
        st.sampled_from(
            (
                *(np.zeros((0, *array.shape[1:]), array.dtype), array[..., None]),
                *(
                    array.reshape(-1),
                    array.reshape(-1)[:1],
                    np.zeros_like(array),
                    np.ones_like(array) * 100,
                ),
                *(array.astype(kind) for kind in (np.float32, np.float64, np.int64, np.int8, bool)),
                *(np.full(array.shape, value) for value in (np.nan, np.inf, 1e308)),
                *(np.full(array.shape, -1), np.array(1.0), array.astype(np.float16)),
            )
        )
    )


def _npz(data: st.DataObject, content: bytes) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    name = data.draw(st.sampled_from(sorted(arrays)))
    kinds = (np.complex64, np.uint64, object, "S3", "U3", "M8[s]")
    other = [arrays[name].astype(np.int64).astype(kind) for kind in kinds]
    pickled = np.array([_CALLS[0]], dtype=object)
    arrays[name] = data.draw(st.sampled_from((_array(data, arrays[name]), pickled, *other)))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _header(data: st.DataObject, content: bytes) -> bytes:
    """Damage what a safetensors file says of its tensors."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(confused(data, json.loads(content[8 : 8 + size]))).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _tensors(data: st.DataObject, content: bytes) -> bytes:
    tensors = safetensors.numpy.load(content)
    name = data.draw(st.sampled_from(sorted(tensors)))
    change = data.draw(st.sampled_from(("array", "array", "array", "gone", "name")))
    array = tensors.pop(name)
    if change == "array":
        tensors[name] = np.ascontiguousarray(_array(data, array))
    elif change == "name":
        tensors[data.draw(st.sampled_from(("", "x", "a" * 1000, *tensors)))] = array
    return safetensors.numpy.save(tensors)


_COLUMNS: tuple[Callable[[int], Any], ...] = (
    lambda rows: pa.array(["a"] * rows),
    lambda rows: pa.array([""] * rows),
    lambda rows: pa.array([f"{row}" for row in range(rows)]),
    lambda rows: pa.array([f"{row}"[:1] for row in range(rows)]).dictionary_encode(),
    lambda rows: pa.array([b"\xff\xfe"] * rows),
    lambda rows: pa.nulls(rows),
    lambda rows: pa.array(range(rows)),
    lambda rows: pa.array([-1] * rows),
    lambda rows: pa.array([2**63] * rows, pa.uint64()),
    lambda rows: pa.array([float("nan")] * rows),
    lambda rows: pa.array([float("inf")] * rows),
    lambda rows: pa.array([1e308] * rows),
    lambda rows: pa.array([True] * rows),
    lambda rows: pa.array([[1, 2]] * rows),
    lambda rows: pa.array([{"bytes": b"x"}] * rows),
    lambda rows: pa.array([{"x": None}] * rows),
    lambda rows: pa.array([10**15] * rows, pa.timestamp("s")),
    lambda rows: pa.array([2**62] * rows, pa.timestamp("us")),
    lambda rows: pa.array([1] * rows, pa.time32("s")),
    lambda rows: pa.array([1] * rows).cast(pa.decimal128(20)),
    lambda rows: pa.array([1.5] * rows, pa.float16()),
    lambda rows: pa.array([3] * rows, pa.duration("s")),
)


def _columns(data: st.DataObject, content: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(content))
    at = data.draw(st.integers(0, table.num_columns - 1))
    name = table.column_names[at]
    change = data.draw(st.sampled_from(("type", "type", "type", "name", "gone", "rows", "card")))
    if change == "type":
        new = data.draw(st.sampled_from(_COLUMNS))(table.num_rows)
        table = table.set_column(at, name, new)
    elif change == "name":
        new = data.draw(st.sampled_from((*_TEXTS, *table.column_names)))
        table = table.rename_columns([new if one == name else one for one in table.column_names])
    elif change == "gone":
        table = table.drop_columns([name])
    elif change == "rows":
        rows = data.draw(st.integers(0, 2))
        table = pa.concat_tables([table] * rows) if rows else table.slice(0, 0)
    else:
        said = table.schema.metadata or {}
        said = {key: _json(data, text) if text[:1] == b"{" else b"x" for key, text in said.items()}
        table = table.replace_schema_metadata(said)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _sqlite(data: st.DataObject, content: bytes) -> bytes:
    """Put something else into a cell, or take away a row or a table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.sqlite"
        path.write_bytes(content)
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA ignore_check_constraints=1")
        tables = [
            name
            for (name,) in database.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            )
        ]
        table = data.draw(st.sampled_from(tables))
        change = data.draw(st.sampled_from(("cell", "cell", "cell", "cell", "row", "table")))
        if change == "table":
            database.execute(f"DROP TABLE {table}")
        elif change == "row":
            database.execute(f"DELETE FROM {table}")
        else:
            _change_cell(data, database, table)
        database.close()
        return path.read_bytes()


def _change_cell(data: st.DataObject, database: sqlite3.Connection, table: str) -> None:
    cursor = database.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
    column = data.draw(st.sampled_from([name for name, *_ in cursor.description]))
    old = [value for (value,) in database.execute(f"SELECT {column} FROM {table}")]
    value = data.draw(st.sampled_from((0, -1, 7, 2**62, 0.5, float("inf"), b"\xff", *_TEXTS)))
    if isinstance(old[0], str) and old[0][:1] == "{" and data.draw(st.booleans()):
        value = _json(data, old[0].encode()).decode()
    try:
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (value, old[0]))
    except sqlite3.IntegrityError:  # it is a key of another row, or has to be there
        database.execute(f"DELETE FROM {table} WHERE {column} = ?", (old[0],))


def _onnx(data: st.DataObject, content: bytes) -> bytes:
    from google.protobuf import json_format
    from onnx import ModelProto

    model = ModelProto.FromString(content)
    tree = confused(data, json_format.MessageToDict(model))
    try:
        return bytes(json_format.ParseDict(tree, ModelProto()).SerializeToString())
    except (json_format.ParseError, TypeError, AttributeError, ValueError, OverflowError):
        return _bytes(data, content)


Change = Callable[[st.DataObject, bytes], bytes]
_STRUCTURES: dict[str, tuple[Change, ...]] = {
    ".json": (_json, _json, _text),
    ".toml": (_toml, _toml, _text),
    ".csv": (_text,),
    ".txt": (_text,),
    ".parquet": (_columns,),
    ".safetensors": (_header, _tensors),
    ".sqlite": (_sqlite,),
    ".npz": (_npz, _zip),
    ".pickle": (_pickle,),
    ".pbz2": (_bz2,),
    ".pt": (_torch, _zip),
    ".pth": (_torch, _zip),
    ".pt2": (_zip,),
    ".onnx": (_onnx,),
    "": (_text,),
}
"""What can be done with files of each kind, besides to their bytes."""
