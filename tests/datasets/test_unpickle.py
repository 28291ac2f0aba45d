from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import struct
import subprocess
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brpnas.datasets import safe_load
from brpnas.errors import UserError

PLAIN = {
    "tuple": (1, (2.5, None), b""),
    (0, 1): [True, "text", b"bytes", 2**100, -1],
    "sets": [{1, 2}, frozenset({3}), complex(1, 2)],
    "ordered": OrderedDict(a=1),
    "bytearray": bytearray(b"xyz"),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back(protocol: int) -> None:
    content = {key: value for key, value in PLAIN.items() if key != "bytearray" or protocol == 5}
    assert safe_load(pickle.dumps(content, protocol)) == content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("module", ["numpy._core", "numpy.core"])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([1, 2], dtype=">i2"),
        np.array(["a", "bcd"]),
        np.array([True, False]),
        np.zeros((0, 3), np.float32),
    ],
)
def test_arrays_of_numpy_1_and_2(array: np.ndarray[Any, Any], module: str, protocol: int) -> None:
    content = pickle.dumps(array, protocol)
    if protocol < 4:  # later ones store the length of the name, which would change
        content = content.replace(b"numpy._core", module.encode())
    back = safe_load(content)
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, array)
    assert (back.dtype.kind, back.itemsize) == (array.dtype.kind, array.itemsize)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numpy_numbers(protocol: int) -> None:
    numbers = [np.float64(1.5), np.int32(-7), np.float32(0.25), np.bool_(True), np.str_("ab")]
    back = safe_load(pickle.dumps(numbers, protocol))
    assert back == numbers
    assert [type(number) for number in back] == [type(number) for number in numbers]  # type: ignore[attr-defined]


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.reduced = function, args

    def __reduce__(self) -> Any:
        return self.reduced


HOSTILE = {
    "posix.system": Call(os.system, "touch pwned"),
    "builtins.eval": Call(eval, "open('pwned', 'w')"),
    "builtins.exec": Call(exec, "open('pwned', 'w')"),
    "builtins.getattr": Call(getattr, np, "load"),
    "builtins.open": Call(open, "pwned", "w"),
    "subprocess.Popen": Call(subprocess.Popen, ["touch", "pwned"]),
    "numpy.load": Call(np.load, "pwned"),
    "numpy.fromfile": Call(np.fromfile, "pwned"),
    "collections.defaultdict": defaultdict(list),
    "pathlib.PosixPath": Path("pwned"),
    "builtins.__import__": Call(builtins.__import__, "antigravity"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "builtins.getattr"])
def test_refused_globals_are_named_and_do_not_run(
    name: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hostile.pickle"
    file.write_bytes(pickle.dumps([HOSTILE[name]], protocol))
    last = name.rpartition(".")[2]
    with pytest.raises(UserError, match=rf"hostile\.pickle: refused '[a-z_.]*\.{last}'"):
        safe_load(file)
    assert list(tmp_path.iterdir()) == [file]


def short(text: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode()


def named(module: str, name: str) -> bytes:
    return short(module) + short(name) + pickle.STACK_GLOBAL


RECONSTRUCT = named("numpy._core.multiarray", "_reconstruct")
NDARRAY = named("numpy", "ndarray")
DTYPE = named("numpy", "dtype")


def dtype(spec: str) -> bytes:
    return DTYPE + short(spec) + pickle.TUPLE1 + pickle.REDUCE


def state(shape: bytes, kind: bytes, raw: bytes) -> bytes:
    return b"(K\x01" + shape + kind + pickle.NEWFALSE + raw + b"tb."


EMPTY_ARRAY = RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85" + short("b") + b"tR"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (named("builtins", "getattr") + b".", "refused 'builtins.getattr'"),
        (named("collections", "OrderedDict.__init__.__globals__") + b".", "refused"),
        (named("numpy", "dtype.__new__") + b".", "refused 'numpy.dtype.__new__'"),
        (b"cos\nsystem\n(S'true'\ntR.", "refused 'os.system'"),
        (b"(S'true'\nios\nsystem\n.", "refused 'os.system'"),
        # NEWOBJ and OBJ of what is allowed make nothing but an empty array.
        (dtype("O8") + b".", "refused numpy data type 'O8'"),
        (dtype("V8") + b".", "refused numpy data type 'V8'"),
        (dtype("f8,O") + b".", "refused numpy data type"),
        (EMPTY_ARRAY + state(b"K\x02\x85", dtype("f8"), b"C\x08" + bytes(8)), "does not have 8"),
        (EMPTY_ARRAY + state(b"J\xff\xff\xff\xff\x85", dtype("f8"), b"C\x00"), "does not have 0"),
        (EMPTY_ARRAY + state(b"K\x00\x85", short("O"), b"C\x00"), "without a plain data type"),
        (DTYPE + b"}b.", "refused to set attributes"),  # would rewrite the stand-in
        (
            named("_codecs", "encode") + b"N}" + short("__defaults__") + b")s\x86b.",
            "refused to set",
        ),
        (named("_codecs", "encode") + short("x") + short("rot13") + b"\x86R.", "text encoding"),
        (named("builtins", "bytes") + b"J\x00\x00\x00\x40\x85R.", "damaged"),
        (b"P1\n.", "damaged"),  # persistent id
        (b"\x82\x01.", "damaged"),  # extension registry
        (b"", "damaged"),
        (b"\x80\x04", "damaged"),
        (b"\x80\x63.", "damaged"),
        (pickle.dumps(PLAIN, 5)[:-10], "damaged"),
    ],
)
def test_crafted_pickles(content: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=f"^given: .*{reason}"):
        safe_load(content, name="given")


def test_constructor_of_arrays_ignores_its_arguments() -> None:
    huge = b"J\x00\x00\x00\x40\x85"
    for content in (NDARRAY + huge + b"R.", NDARRAY + huge + b"\x81."):
        assert np.size(safe_load(content)) == 0  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "content",
    [
        b"Nr" + struct.pack("<I", 2**32 - 1) + b".",  # memo index
        b"p4000000000\n.",
        b"\x8d" + struct.pack("<Q", 2**40),  # length of text
        b"\x8e" + struct.pack("<Q", 2**40),  # of bytes
        b"\x96" + struct.pack("<Q", 2**40),  # of a bytearray
        b"\x80\x04\x95" + struct.pack("<Q", 2**62),  # of a frame
        b"}" + b")" + b"\x85" * 1_000_000 + b"Ns.",  # hashing this kills the process
    ],
)
def test_memory_bombs(content: bytes) -> None:
    with contextlib.suppress(UserError):
        assert safe_load(content) is None  # a large index by itself is harmless


TWICE = pickle.DUP + pickle.TUPLE2


@pytest.mark.parametrize(
    "content",
    [
        b"}" + b")" + TWICE * 20 + b"Ns.",  # 2**20 hashes; with 50 it would never end
        b"}" + b"(" + b"N" * 10_000 + b"t" + TWICE + b"Ns.",
        b")" + (TWICE + b"q\x000(h\x00\x91") * 20 + b".",  # through frozen sets
    ],
)
def test_tuples_that_take_forever_to_hash_or_compare(content: bytes) -> None:
    with pytest.raises(UserError, match="nested tuples of more than 10000 items"):
        safe_load(content)


def test_long_and_harmless_tuples() -> None:
    content = {tuple(range(100_000)): tuple((i, (i,)) for i in range(2000))}
    assert safe_load(pickle.dumps(content)) == content


def test_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.pickle"
    with path.open("wb") as file:
        file.truncate(2**40)  # a sparse file
    with pytest.raises(UserError, match="more than the 536870912 accepted"):
        safe_load(path)
    with pytest.raises(UserError, match="no such file"):
        safe_load(tmp_path / "gone.pickle")


OPCODES = [
    b"K\x03",
    b"C\x02ab",
    b"h\x00",
    *(bytes([code]) for code in b"(tRb}sN]auo\x81\x85\x86\x94"),
]


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=80)
    | st.lists(
        st.sampled_from([RECONSTRUCT, NDARRAY, DTYPE, short("f8"), *OPCODES]),
        max_size=20,
    ).map(lambda parts: b"".join(parts) + b".")
)
@example(b"")
def test_any_bytes_give_data_or_a_user_error(content: bytes) -> None:
    with contextlib.suppress(UserError):
        safe_load(content)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255))
def test_one_wrong_byte(position: int, value: int) -> None:
    content = bytearray(pickle.dumps([PLAIN, np.arange(3), np.float64(2)]))
    content[position % len(content)] = value
    with contextlib.suppress(UserError):
        safe_load(bytes(content))
