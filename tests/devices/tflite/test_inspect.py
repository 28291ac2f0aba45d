from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from brpnas.devices.tflite import schema
from brpnas.devices.tflite.inspect import check, facts
from brpnas.devices.tflite.writer import write
from brpnas.errors import UserError

SETTINGS = settings(max_examples=300, deadline=2000)


@functools.cache
def model() -> bytes:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    return write(layers, torch.zeros(2, 3, 5, 6), "m").content


@functools.cache
def rewritten(batch: int) -> bytes:
    """The model with another batch size in the signature of its input, by the official library."""
    tables = schema.tables()
    content = tables.ModelT.InitFromPackedBuf(model(), 0)
    tensor = content.subgraphs[0].tensors[0]
    tensor.shapeSignature = [batch, 3, 5, 6]
    builder = schema.builder(1024)
    builder.Finish(content.Pack(builder), schema.IDENTIFIER)
    return bytes(builder.Output())


def test_facts_of_a_model() -> None:
    seen = check(model(), "m")
    assert [(one.name, one.shape, one.dtype) for one in seen.inputs] == [
        ("input", (2, 3, 5, 6), "FLOAT32")
    ]
    assert [(one.name, one.shape) for one in seen.outputs] == [("output", (2, 4 * 3 * 4))]
    assert seen.operators == 4
    assert not seen.dynamic
    assert not seen.quantised
    assert seen.signature == ("serving_default", "input")


def test_facts_of_a_model_packed_by_others() -> None:
    seen = check(rewritten(2), "m")
    assert (seen.inputs, seen.operators) == (facts(model(), "m").inputs, 4)


def test_dynamic_shapes_are_refused() -> None:
    assert facts(rewritten(-1), "m").inputs[0].shape == (-1, 3, 5, 6)
    with pytest.raises(UserError, match=r"'m' has dynamic shapes \(tensor 'input'\); convert it"):
        check(rewritten(-1), "m")


@pytest.mark.parametrize(
    "content", [b"TFL3", b"PK\x03\x04" + b"\0" * 40, b"\x08\0\0\0ONNX" + b"\0" * 40]
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(UserError, match=r"'x\.onnx' is no TFLite file"):
        check(content, "x.onnx")


def test_every_cut_is_noticed() -> None:
    content = model()
    with pytest.raises(UserError, match="'m' is empty"):
        check(b"", "m")
    for length in range(1, 8):
        with pytest.raises(UserError, match="'m' is no TFLite file"):
            check(content[:length], "m")
    for length in range(8, len(content)):
        with pytest.raises(UserError, match="'m' is cut off"):
            check(content[:length], "m")


def _survives(content: bytes) -> None:
    try:
        check(content, "m")
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either way is fine


@SETTINGS
@given(st.binary(max_size=400))
def test_garbage_is_an_error(garbage: bytes) -> None:
    with pytest.raises(UserError):
        check(garbage, "m")
    with pytest.raises(UserError):
        check(garbage[:4] + b"TFL3" + garbage[4:], "m")


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bits_are_harmless(flips: list[tuple[int, int]]) -> None:
    content = bytearray(model())
    for place, bits in flips:
        content[place % len(content)] ^= bits
    _survives(bytes(content))


@SETTINGS
@given(st.integers(0, 1 << 20), st.integers(0, 2**32 - 1))
def test_wrong_offsets_are_harmless(place: int, offset: int) -> None:
    content = bytearray(model())
    place = place % (len(content) - 4) // 4 * 4
    content[place : place + 4] = offset.to_bytes(4, "little")
    _survives(bytes(content))


def test_a_file_that_says_the_same_too_often_is_no_endless_work() -> None:
    # Two thousand graphs of two thousand tensors, all of them the same: four million in 16 kB.
    tables, builder, count = schema.tables(), schema.builder(1024), 2000

    def repeated(offset: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def table(kind: str, **fields: int) -> int:
        getattr(tables, f"{kind}Start")(builder)
        for name, value in fields.items():
            getattr(tables, f"{kind}Add{name}")(builder, value)
        return int(getattr(tables, f"{kind}End")(builder))

    graph = table("SubGraph", Tensors=repeated(table("Tensor")))
    buffers = repeated(table("Buffer"))
    builder.Finish(
        table("Model", Version=3, Subgraphs=repeated(graph), Buffers=buffers), schema.IDENTIFIER
    )
    with pytest.raises(UserError, match="same places too often"):
        check(bytes(builder.Output()), "m")


def test_tensors_that_do_not_exist_are_an_error() -> None:
    tables = schema.tables()
    content = tables.ModelT.InitFromPackedBuf(model(), 0)
    content.subgraphs[0].operators[0].inputs = [0, 99]
    builder = schema.builder(1024)
    builder.Finish(content.Pack(builder), schema.IDENTIFIER)
    with pytest.raises(UserError, match="tensor 99 of 10"):
        check(bytes(builder.Output()), "m")
