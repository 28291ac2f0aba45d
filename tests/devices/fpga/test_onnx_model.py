from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.errors import UserError

Save = Callable[..., Path]


def test_weights_that_are_not_there(save_onnx: Save) -> None:
    """VGG-16 at its full size: what counts is how large its weights are, not what they are."""
    layers, constants, last, width = [], {}, "x", 3
    for stage, (outputs, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        for place in range(count):
            name = f"{stage}_{place}"
            constants |= {f"w{name}": (outputs, width, 3, 3), f"b{name}": (outputs,)}
            layers.append(f"c{name} = Conv<pads=[1, 1, 1, 1]>({last}, w{name}, b{name})")
            layers.append(f"r{name} = Relu(c{name})")
            last, width = f"r{name}", outputs
        layers.append(f"p{stage} = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>({last})")
        last = f"p{stage}"
    constants["w"] = (4096, 512 * 49)
    layers.append(f"f = Flatten({last}) y = Gemm<transB=1>(f, w)")
    path = save_onnx(" ".join(layers), constants, "N, 3, 224, 224", external=True)
    network = read_onnx(path)
    assert sum(node.weights for node in network.nodes) == 14_710_464 + 4096 * 512 * 49
    product = network.nodes[-1].sizes
    assert (product["rows"], product["cols"], product["channels"]) == (1, 1, 7 * 7 * 512)
    assert network.nodes[0].sizes["has_bias"] == 1


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (
            "1, 3, height, 8",
            r"input 'x': the size along axis 2 \('height'\) is not fixed; accepted",
        ),
        ("n, ?, 8, 8", "input 'x': the size along axis 1 is not fixed; accepted: fixed ones, but"),
        ("1, 3, 8, 1099511627776", "the input has 8 x 1099511627776 x 3 rows x cols x channels"),
    ],
)
def test_sizes_of_the_input(shape: str, reason: str, save_onnx: Save) -> None:
    with pytest.raises(UserError, match=reason):
        read_onnx(save_onnx("y = Relu(x)", shape=shape))


def test_several_inputs(save_onnx: Save) -> None:
    path = save_onnx("y = Add(x, z)")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3, 8, 8]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="a model of 2 inputs; accepted: one"):
        read_onnx(path)


def test_paddings_that_the_graph_computes(save_onnx: Save) -> None:
    """As exporters write them, from the axes' last to first and from the map's own channels."""
    path = save_onnx(
        """s = Shape(x)  c = Gather(s, one)  more = Sub(eight, c)  none = ConstantOfShape(six)
        p = Concat<axis=0>(none, more, zero)  pairs = Reshape(p, two)
        back = Slice(pairs, last, first, axis, last)  turned = Transpose<perm=[1, 0]>(back)
        flat = Reshape(turned, last)  pads = Cast<to=7>(flat)  q = Pad(x, pads)
        y = Relu(q)""",
        {
            **{"one": [1], "eight": [8], "six": [4], "zero": [0, 0, 0], "two": [-1, 2]},
            **{"last": [-1], "first": [-9223372036854775807], "axis": [0]},
        },
    )
    pad, _ = read_onnx(path).nodes
    assert (pad.kind, pad.output) == ("pad_channels", (8, 8, 8))
    assert (pad.sizes["zeros_before"], pad.sizes["zeros_behind"]) == (5, 0)


def test_what_a_graph_computes_stays_small(save_onnx: Save) -> None:
    path = save_onnx(
        "many = ConstantOfShape(size) y = Pad(x, many)", {"size": [2**40]}, external=False
    )
    with pytest.raises(UserError, match="layer 'y', of type Pad: its pads are not a constant"):
        read_onnx(path)


def test_names_cannot_steer_a_terminal(save_onnx: Save) -> None:
    path = save_onnx("y = Selu(x)")
    model = onnx.load(path)
    model.graph.node[0].name = "\x1b[31m\nred"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"layer '\?\[31m\?red', of type Selu"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an ONNX file, or one without layers"),
        (bytes(range(256)), "not an ONNX file, or a damaged one"),
        (b"# Networks\n\nA list of them.\n", "not an ONNX file"),
    ],
)
def test_other_files(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: {reason}"):
        read_onnx(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.onnx: cannot be read: No such file"):
        read_onnx(tmp_path / "absent.onnx")
    with pytest.raises(UserError, match=f"{tmp_path}: cannot be read: Is a directory"):
        read_onnx(tmp_path)


def test_a_file_of_more_than_2_gb(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # takes no room on the disk
    with pytest.raises(UserError, match="larger than 2 GB, the most that an ONNX file may hold"):
        read_onnx(path)


def test_without_onnx(save_onnx: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_onnx("y = Relu(x)")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="ONNX files need onnx: install brpnas with its extra"):
        read_onnx(path)


def test_damaged_files(save_onnx: Save) -> None:
    """Whatever is changed in a file, it is read or refused in one line."""
    path = save_onnx(
        """c = Conv<pads=[1, 1, 1, 1], strides=[2, 2], group=1>(x, k)
        n = BatchNormalization(c, s, s, s, s)
        p = AveragePool<kernel_shape=[2, 2], auto_pad="SAME_UPPER">(n)
        a = Add(p, p)  shape = Shape(a)  batch = Gather(shape, zero)
        target = Concat<axis=0>(batch, rest)  flat = Reshape(a, target)  y = Gemm(flat, w)""",
        {"zero": [0], "rest": [-1], "k": (4, 3, 3, 3), "s": (4,), "w": (64, 4)},
    )
    kinds = [node.kind for node in read_onnx(path).nodes]
    assert kinds == ["convolution", "pooling", "split", "eltwise", "inner_product"]
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = []
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(len(content)))
            if rng.random() < 0.7:
                content[place] = int(rng.integers(256))
            else:
                del content[place : place + int(rng.integers(1, 9))]
        path.write_bytes(content)
        try:
            read_onnx(path)
        except UserError as error:
            refused.append(str(error))
    assert 20 < len(refused) < 280
    assert all(text.startswith(f"{path}: ") and "\n" not in text for text in refused)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not an ONNX file, or a damaged one"):
        read_onnx(path)
