from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import pytest
import torch
from torch import nn

from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.network import INPUT, Network
from brpnas.errors import UserError
from brpnas.spaces import NASBench101, NASBench201

Save = Callable[..., Path]

# Input, multiply-accumulates and weights, counted by hand or as published (MobileNet: Howard et
# al. 2017, table 8: 569 million and 4.2 million).
NETS = {
    "alexnet_conv": ((228, 228, 3), 655_566_528, 2_468_544),
    "cnv": ((32, 32, 3), 59_461_376, 1_542_848),
    "lenet": ((28, 28, 1), 2_293_000, 430_500),
    "mobilenetv1": ((224, 224, 3), 568_740_352, 4_209_088),
    "mpcnn": ((32, 32, 1), 1_480_200, 69_900),
    "resnet8": ((32, 32, 3), 12_501_632, 77_360),
    "simple": ((1, 1, 16), 4_256, 4_256),
    "tfc": ((1, 1, 784), 59_008, 59_008),
    "three_layer": ((16, 16, 3), 940_032, 3_672),
    "tiny_conv": ((8, 8, 2), 2_592, 72),
    "tiny_ip": ((1, 1, 4), 24, 24),
}


def shown(network: Network) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(node.name, node.kind, node.inputs) for node in network.nodes]


# Real files


@pytest.mark.parametrize("name", NETS)
def test_real_networks(
    name: str, shared: Path, evaluate: Callable[[Network], pd.DataFrame]
) -> None:
    path = shared / "fpga" / "nets" / f"{name}.onnx"
    network = read_onnx(path)
    macs, weights = (sum(getattr(n, what) for n in network.nodes) for what in ("macs", "weights"))
    assert (network.input, macs, weights) == NETS[name]
    assert network.name == name
    assert len(evaluate(network)) == len(network.nodes)
    held = onnx.load(path).graph.initializer
    assert weights == sum(torch.Size(one.dims).numel() for one in held if len(one.dims) > 1)
    layers = [n for n in network.nodes if n.kind in ("convolution", "inner_product")]
    assert sum(n.sizes["has_bias"] for n in layers) == sum(len(one.dims) == 1 for one in held)


def test_lenet(shared: Path) -> None:
    network = read_onnx(shared / "fpga" / "nets" / "lenet.onnx")
    assert [(node.name, node.kind, node.output) for node in network.nodes] == [
        ("conv1", "convolution", (24, 24, 20)),
        ("pool1", "pooling", (12, 12, 20)),
        ("conv2", "convolution", (8, 8, 50)),
        ("pool2", "pooling", (4, 4, 50)),
        ("ip1", "inner_product", (1, 1, 500)),
        ("relu1", "relu", (1, 1, 500)),
        ("ip2", "inner_product", (1, 1, 10)),
    ]
    assert network.node("ip1").sizes == {
        **{"rows": 1, "cols": 1, "channels": 800, "filters": 500, "has_bias": 1}
    }


def test_a_residual_of_resnet8(shared: Path) -> None:
    network = read_onnx(shared / "fpga" / "nets" / "resnet8.onnx")
    assert shown(network)[1:7] == [
        ("relu1", "relu", ("conv1",)),
        ("relu1_split", "split", ("relu1",)),
        ("conv2", "convolution", ("relu1_split",)),
        ("relu2", "relu", ("conv2",)),
        ("conv3", "convolution", ("relu2",)),
        ("add1", "eltwise", ("conv3", "relu1_split")),
    ]
    assert network.outputs == ("ip1",)


# The same network, exported


def graph_of(network: Network) -> list[tuple[Any, ...]]:
    """What a network is but for its names."""
    places = {name: place for place, name in enumerate([INPUT, *(n.name for n in network.nodes)])}
    return [
        (n.kind, n.sizes, tuple(places[name] for name in n.inputs), n.output) for n in network.nodes
    ]


CELLS = {
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|": (
        NASBench201()
    ),
    "1392995:01210": NASBench101(),  # 43 channels of 128 by the side of 42
}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "gated", *CELLS])
@pytest.mark.parametrize("free_batch", [False, True])
def test_an_export_has_the_same_layers_as_the_module(
    name: str, free_batch: bool, known_module: Callable[[str], nn.Module], tmp_path: Path
) -> None:
    if name in CELLS:
        module = CELLS[name].build(CELLS[name].parse(name))
    else:
        module = known_module(name).to_empty(device="cpu")
    image = torch.zeros(1, 3, 64, 64)
    axes = {"x": {0: "batch"}} if free_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that needs no further package
        torch.onnx.export(
            module.eval(),
            (image,),
            tmp_path / "module.onnx",
            input_names=["x"],
            dynamic_axes=axes,
            dynamo=False,
        )
    assert graph_of(read_onnx(tmp_path / "module.onnx")) == graph_of(network_of(module, image))


# Operations


@pytest.mark.parametrize(
    ("attributes", "weights", "expected"),
    [
        ("", (4, 3, 3, 3), {"pad_top": 0, "stride_rows": 1, "groups": 1, "filters": 4}),
        ("pads=[0, 1, 2, 3]", (4, 3, 3, 3), {"pad_left": 1, "pad_bottom": 2, "pad_right": 3}),
        ("group=3", (6, 1, 3, 3), {"groups": 3, "filters": 6, "channels": 3}),
        (
            'auto_pad="SAME_UPPER"',
            (4, 3, 2, 3),
            {"pad_top": 0, "pad_bottom": 1, "pad_left": 1, "pad_right": 1},
        ),
        ('auto_pad="SAME_LOWER"', (4, 3, 2, 3), {"pad_top": 1, "pad_bottom": 0, "pad_left": 1}),
        (
            'auto_pad="SAME_UPPER", strides=[3, 2]',
            (4, 3, 3, 3),
            {"pad_top": 0, "pad_bottom": 1, "pad_left": 0, "pad_right": 1},
        ),
        (
            'auto_pad="VALID", strides=[2, 1]',
            (4, 3, 1, 5),
            {"kernel_rows": 1, "kernel_cols": 5, "pad_left": 0, "stride_rows": 2},
        ),
    ],
)
def test_convolutions(
    attributes: str, weights: tuple[int, ...], expected: dict[str, int], save_onnx: Save
) -> None:
    given = f"<{attributes}>" if attributes else ""
    (node,) = read_onnx(save_onnx(f"[conv] y = Conv {given} (x, w)", {"w": weights})).nodes
    assert node.name == "conv"
    assert {name: node.sizes[name] for name in expected} == expected
    assert node.sizes["has_bias"] == 0


NORM = "y = BatchNormalization(c, s, s, s, s)"
RESHAPED = """shape = Shape(x)  batch = Gather(shape, zero)  target = Concat<axis=0>(batch, rest)
    flat = Reshape(x, target)  y = Gemm(flat, w)"""
COMPUTED = {"zero": [0], "rest": [-1], "w": (192, 4)}
VECTOR = "1, 48"
IMAGE = "1, 3, 8, 8"


@pytest.mark.parametrize(
    ("layers", "constants", "shape", "expected"),
    [
        ("c = Conv(x, w) " + NORM, {"w": (4, 3, 1, 1), "s": (4,)}, IMAGE, "convolution with bias"),
        ("c = Gemm(x, w) " + NORM, {"w": (48, 4), "s": (4,)}, VECTOR, "inner_product with bias"),
        ("c = Identity(x) " + NORM, {"s": (3,)}, IMAGE, "convolution with bias"),
        (
            "c = MatMul(x, w) y = Add(b, c)",
            {"w": (48, 5), "b": (5,)},
            VECTOR,
            "inner_product with bias",
        ),
        ("c = MatMul(x, w) y = Mul(c, b)", {"w": (48, 5), "b": ()}, VECTOR, "inner_product"),
        (
            "c = Gemm<transB=1>(x, w, b) y = Softmax(c)",
            {"w": (5, 48), "b": (5,)},
            VECTOR,
            "inner_product with bias",
        ),
        ("y = Clip(x, low, high)", {"low": (), "high": ()}, IMAGE, "relu"),
        ("y = HardSwish(x)", {}, IMAGE, "hard_swish"),
        ("h = HardSigmoid(x) y = Mul(h, x)", {}, IMAGE, "hard_swish"),
        (
            "g = GlobalAveragePool(x) h = HardSigmoid(g) y = Mul(h, x)",
            {},
            IMAGE,
            "split, global_pool, hard_sigmoid, eltwise",
        ),
        ("y = ReduceMean<axes=[-1, 2], keepdims=0>(x)", {}, IMAGE, "global_pool"),
        ("y = AveragePool<kernel_shape=[8, 8]>(x)", {}, IMAGE, "global_pool"),
        ("y = MaxPool<kernel_shape=[8, 8]>(x)", {}, IMAGE, "pooling"),
        ("g = GlobalAveragePool(x) y = Squeeze(g, a)", {"a": [2, 3]}, IMAGE, "global_pool"),
        ("r = Relu(x) d = Dropout(r) y = Identity(d)", {}, IMAGE, "relu"),
        ("r = Relu(x) y = Sum(r, x, r)", {}, IMAGE, "split, relu, split, eltwise"),
        ("r = Relu(x) y = Concat<axis=-3>(r, x)", {}, IMAGE, "split, relu, concat"),
        ("y = Slice(x, f, t, a)", {"f": [0], "t": [2], "a": [1]}, IMAGE, "split"),
        (
            "s = Slice(x, f, t, r, two) q = Slice(s, f, t, c, two) y = Pad(q, p)",
            {
                **{"f": [0], "t": [2**62], "r": [2], "c": [-1], "two": [2]},
                "p": [0, 2, 0, 0, 0, 3, 0, 0],
            },
            IMAGE,
            "pooling, pad_channels",
        ),
        (RESHAPED, COMPUTED, IMAGE, "inner_product"),
        (RESHAPED, COMPUTED, "n, 3, 8, 8", "inner_product"),
        (RESHAPED, COMPUTED, "6, 3, 8, 8", "inner_product"),
        (
            "p = Pad(x, around) y = Conv(p, w)",
            {"around": [0, 0, 1, 1, 0, 0, 0, 0], "w": (4, 3, 3, 3)},
            IMAGE,
            "convolution",
        ),
        ("r = Constant<value_ints=[0, -1]>() f = Reshape(x, r) y = Relu(f)", {}, IMAGE, "relu"),
    ],
)
def test_operations(
    layers: str, constants: dict[str, Any], shape: str, expected: str, save_onnx: Save
) -> None:
    network = read_onnx(save_onnx(layers, constants, shape))
    bias = [" with bias" * node.sizes.get("has_bias", 0) for node in network.nodes]
    kinds = [node.kind for node in network.nodes]
    assert ", ".join(map("".join, zip(kinds, bias, strict=True))) == expected


def test_axes_of_a_mean_as_an_input(save_onnx: Save) -> None:
    (node,) = read_onnx(save_onnx("y = ReduceMean(x, a)", {"a": [2, 3]}, opset=18)).nodes
    assert node.kind == "global_pool"


def test_names(save_onnx: Save) -> None:
    path = save_onnx("[same] a = Relu(x) [same] b = HardSwish(a) y = Relu(b)")
    assert [node.name for node in read_onnx(path).nodes] == ["same", "same_2", "y"]


# What is refused

CONV = "[conv] y = Conv(x, w)"
WINDOW = {"w": (4, 3, 3, 3)}
QUANTISED = "an FPGA has no layer for it; accepted: networks that are not quantised"


@pytest.mark.parametrize(
    ("layers", "constants", "shape", "reason"),
    [
        (
            "[gate] y = Sigmoid(x)",
            {},
            IMAGE,
            "layer 'gate', of type Sigmoid: an FPGA has no layer for it; accepted: Conv, Gemm",
        ),
        ("y = QuantizeLinear(x, s)", {"s": ()}, IMAGE, f"'y', of type QuantizeLinear: {QUANTISED}"),
        ("y = DequantizeLinear(x, s)", {"s": ()}, IMAGE, f"DequantizeLinear: {QUANTISED}"),
        ("y = ConvInteger(x, w)", WINDOW, IMAGE, f"ConvInteger: {QUANTISED}"),
        ("y = com.microsoft.QLinearAdd(x, x)", {}, IMAGE, f"QLinearAdd: {QUANTISED}"),
        ("y = com.microsoft.Relu(x)", {}, IMAGE, "of type Relu: an FPGA has no layer for it"),
        ("y = Gather(x, i)", {"i": [0]}, IMAGE, "of type Gather: an FPGA has no layer for it"),
        ("y = Conv<dilations=[2, 2]>(x, w)", WINDOW, IMAGE, "dilation 2 x 2; accepted: 1 x 1"),
        (CONV, {"w": (4, 3, 3)}, "1, 3, 8", "an input of 3 dimensions; accepted: 4"),
        (
            CONV,
            {"w": (4, 2, 3, 3)},
            IMAGE,
            r"'conv', of type Conv: weights of shape \(4, 2, 3, 3\) and 1 groups on an input of 3",
        ),
        ("y = Conv(x, a) a = Relu(x)", {}, IMAGE, "Nodes in a graph must be topologically sorted"),
        ("a = Relu(x) y = Conv(x, a)", {}, "3, 3, 8, 8", "weights 'a' are not a constant"),
        ("y = Gemm<transA=1>(x, w)", {"w": (1, 5)}, VECTOR, "a product of matrices; accepted"),
        ("y = MatMul(x, w)", {"w": (8, 5)}, IMAGE, "a product of matrices; accepted"),
        ("y = MatMul(w, x)", {"w": (2, 1)}, VECTOR, "weights 'x' are not a constant"),
        ("y = Add(x, w)", {"w": (8, 8)}, IMAGE, r"a constant of shape \(8, 8\); accepted: one"),
        ("y = ReduceMean<axes=[1]>(x)", {}, IMAGE, r"a mean over axes \[1\]; accepted: over rows"),
        ("y = Concat<axis=2>(x, x)", {}, IMAGE, "a concatenation along axis 2; accepted: 1"),
        ("y = Slice(x, o, o, o)", {"o": [1]}, IMAGE, "accepted: the first channels"),
        (
            'y = Pad<mode="reflect">(x, p)',
            {"p": [0, 0, 1, 1, 0, 0, 1, 1]},
            IMAGE,
            "a padding with something else than zeros",
        ),
        ("y = Pad(x, p)", {"p": [1, 0, 0, 0, 0, 0, 0, 0]}, IMAGE, "accepted: of channels, rows"),
        ("y = Reshape(x, r)", {"r": [3, 64]}, IMAGE, "a reshape of 3 x 8 x 8 .* to 64; accepted"),
        (
            "y, m, v = BatchNormalization<training_mode=1>(x, s, s, s, s)",
            {"s": (3,)},
            IMAGE,
            "a batch-norm in training mode",
        ),
        (
            "p, i = MaxPool<kernel_shape=[2, 2]>(x) j = Add(i, i) y = Relu(p)",
            {},
            IMAGE,
            "input 'i' is a second output of another layer",
        ),
        ("s = Softmax(x) y = Relu(s)", {}, IMAGE, "a ReLU after a softmax"),
        ("y = Identity(w)", {"w": (3, 3)}, IMAGE, "output 'y' does not depend on the input"),
    ],
)
def test_refused(
    layers: str, constants: dict[str, Any], shape: str, reason: str, save_onnx: Save
) -> None:
    path = save_onnx(layers, constants, shape)
    with pytest.raises(UserError, match=reason) as error:
        read_onnx(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
