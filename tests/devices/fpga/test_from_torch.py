from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.network import INPUT, Network
from brpnas.errors import UserError
from brpnas.lowrank.counting import count_macs
from brpnas.spaces import NASBench101, NASBench201, Space

SMALL = torch.empty(1, 3, 8, 8)
PHOTO = torch.empty(1, 3, 224, 224, device="meta")

Module = Callable[[str], nn.Module]
Evaluate = Callable[[Network], pd.DataFrame]


class Does(nn.Module):
    """Does what a function says, with a convolution at hand."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.end = nn.Linear(192, 4)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def kinds(network: Network) -> list[str]:
    return [node.kind for node in network.nodes]


# Multiply-accumulates and parameters as torchvision gives them; the latter without biases and
# what batch-norms hold.
@pytest.mark.parametrize(
    ("name", "macs", "weights"),
    [
        ("resnet18", 1_814_073_344, 11_689_512 - 2 * 4_800 - 1_000),
        ("vgg16", 15_470_264_320, 138_357_544 - 4_224 - 9_192),
        ("mobilenet_v2", 300_774_272, 3_504_872 - 2 * 17_056 - 1_000),
    ],
)
def test_published_networks(
    name: str, macs: int, weights: int, known_module: Module, evaluate: Evaluate
) -> None:
    network = network_of(known_module(name), PHOTO, name)
    assert (network.name, network.input) == (name, (224, 224, 3))
    assert sum(node.macs for node in network.nodes) == macs
    assert sum(node.weights for node in network.nodes) == weights
    assert len(evaluate(network)) == len(network.nodes)
    assert network.node(network.outputs[0]).output == (1, 1, 1000)


def test_resnet18(known_module: Module) -> None:
    network = network_of(known_module("resnet18"), PHOTO)
    assert Counter(kinds(network)) == {
        **{"convolution": 20, "relu": 17, "split": 8, "eltwise": 8},
        **{"pooling": 1, "global_pool": 1, "inner_product": 1},
    }
    assert all(n.sizes["has_bias"] for n in network.nodes if n.kind == "convolution")
    assert [(node.name, node.inputs) for node in network.nodes[:9]] == [
        ("0", (INPUT,)),
        ("2", ("0",)),
        ("3", ("2",)),
        ("3_split", ("3",)),
        ("4.first.0", ("3_split",)),
        ("4.relu", ("4.first.0",)),
        ("4.second.0", ("4.relu",)),
        ("4.add", ("4.second.0", "3_split")),
        ("4.relu_2", ("4.add",)),
    ]


def test_gates_branches_and_rectangles(known_module: Module, evaluate: Evaluate) -> None:
    network = network_of(known_module("gated"), torch.empty(7, 3, 32, 32))
    assert kinds(network) == [
        *("convolution", "hard_swish", "split", "global_pool", "inner_product", "relu"),
        *("inner_product", "relu", "eltwise", "split", "convolution", "pooling", "split"),
        *("convolution", "pooling", "split", "hard_swish", "concat", "convolution"),
        *("global_pool", "inner_product"),
    ]
    gate = network.node("mul")
    assert (gate.sizes["op_type"], gate.sizes["broadcast"], gate.output) == ("mul", 1, (16, 16, 16))
    narrow = network.node("narrow").sizes
    assert (narrow["pad_top"], narrow["pad_bottom"], narrow["pad_left"]) == (1, 1, 0)
    wide = network.node("wide").sizes
    assert (wide["kernel_cols"], wide["stride_rows"], wide["pad_right"]) == (5, 2, 2)
    assert network.node("cat").sizes["channels"] == (24, 8, 8)
    assert network.node("norm").sizes["groups"] == 40
    assert len(evaluate(network)) == len(network.nodes)


@pytest.mark.parametrize("space", [NASBench201(), NASBench101()], ids=lambda space: space.name)
def test_networks_of_the_spaces(space: Space[Any], evaluate: Evaluate) -> None:
    image = torch.zeros(1, 3, 32, 32)
    archs = space.sample(40, np.random.default_rng(0))
    for arch in [arch for arch in archs if "none" not in str(arch)][:4]:
        module = space.build(arch)
        network = network_of(module, image, str(arch))
        assert len(evaluate(network)) == len(network.nodes)
        # A batch-norm that follows a sum multiplies too: it is a depthwise convolution.
        macs = sum(node.macs for node in network.nodes if node.sizes.get("groups", 1) == 1)
        assert count_macs(module, image) == macs


def test_a_cell_is_read_as_it_runs() -> None:
    space = NASBench201()
    text = "|skip_connect~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|none~0|none~1|avg_pool_3x3~2|"
    network = network_of(space.build(space.parse(text)), torch.zeros(1, 3, 32, 32))
    cell = [node for node in network.nodes if node.name.startswith("features.2.")]
    assert [(node.name.removeprefix("features.2."), node.kind) for node in cell] == [
        ("operations.0to2.0", "relu"),  # one for both convolutions
        ("operations.0to2.0_split", "split"),
        ("operations.0to2.1", "convolution"),
        ("operations.1to2.1", "convolution"),
        ("add", "eltwise"),
        ("operations.2to3", "pooling"),
    ]


def test_a_cell_without_a_path() -> None:
    space = NASBench201()
    text = "|none~0|+|none~0|nor_conv_3x3~1|+|none~0|skip_connect~1|nor_conv_1x1~2|"
    with pytest.raises(UserError, match="model 'dead': an output of the network does not depend"):
        network_of(space.build(space.parse(text)), torch.zeros(1, 3, 32, 32), "dead")


def test_the_module_is_left_as_it_was() -> None:
    module = Does(lambda self, x: self.norm(self.conv(x)))
    module.norm.eval()
    mean = module.norm.running_mean
    for example in (SMALL, torch.empty(1, 5, 8, 8)):
        with contextless(example):
            network_of(module, example)
        assert [part.training for part in module.modules()] == [True, True, False, True]
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert module.norm.running_mean is mean


def contextless(example: Tensor) -> Any:
    return pytest.raises(UserError) if example.shape[1] != 3 else torch.no_grad()


def test_a_vector() -> None:
    network = network_of(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), torch.empty(9, 5))
    assert network.input == (1, 1, 5)
    assert [(node.name, node.kind, node.macs) for node in network.nodes] == [
        ("0", "inner_product", 20)
    ]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: sum([m.conv(x), x]), ["split", "convolution", "eltwise"]),  # begins with 0
        (lambda m, x: 1 * m.conv(x), ["convolution"]),
        (lambda m, x: m.conv(x) * 2 + 0.5, ["convolution"]),
        (lambda m, x: m.conv(x) * torch.ones(3, 1, 1), ["convolution"]),
        (lambda _, x: F.relu(x) * 0.1, ["relu", "convolution"]),
        (lambda _, x: torch.clamp(x, 0, 4), ["relu"]),
        (lambda _, x: F.hardtanh(x).contiguous(), ["relu"]),
        (lambda _, x: F.adaptive_avg_pool2d(x, (4, None)), ["pooling"]),
        (lambda m, x: F.adaptive_avg_pool2d(m.conv(x), 8), ["convolution"]),
        (lambda _, x: F.avg_pool2d(x, 8), ["global_pool"]),
        (
            lambda m, x: x * F.hardsigmoid(m.conv(x.mean((2, 3), keepdim=True))),
            ["split", "global_pool", "convolution", "hard_sigmoid", "eltwise"],
        ),
        (lambda _, x: x[:, :, ::2, ::2], ["pooling"]),
        (lambda _, x: F.pad(x[..., ::2], (0, 0, 0, 0, 8, 8)), ["pooling", "pad_channels"]),
        (
            lambda m, x: m.conv(F.pad(x[:, :2], (1, 1, 1, 1, 0, 1))),
            ["split", "pad_channels", "convolution"],
        ),
        (lambda _, x: F.relu(x)[:], ["relu"]),
        (lambda m, x: m.end(F.relu(x).flatten(1))[:, :2], ["relu", "inner_product", "split"]),
        (lambda _, x: x.narrow(1, 0, 2), ["split"]),
        (lambda m, x: m.end(F.relu(x.reshape(len(x), -1))), ["relu", "inner_product"]),
        (lambda m, x: m.end(x.view(x.size(0), -1).relu_()), ["relu", "inner_product"]),
        (lambda m, x: m.conv(F.pad(x, (0, 1, 0, 1))), ["convolution"]),
        (lambda _, x: x.mean((-2, -1), keepdim=True).squeeze(3).squeeze(2), ["global_pool"]),
        (lambda m, x: (m.conv(x), F.relu(x)), ["split", "convolution", "relu"]),
        (
            lambda m, x: functools.reduce(torch.add, [x, torch.zeros_like(x), m.conv(x)]),
            ["split", "convolution", "eltwise"],
        ),
    ],
)
def test_functions(function: Callable[[nn.Module, Tensor], Any], expected: list[str]) -> None:
    assert kinds(network_of(Does(function), SMALL)) == expected


def test_writing_in_place() -> None:
    def function(module: nn.Module, x: Tensor) -> Tensor:
        y = module.conv(x)
        other = y
        y += x
        y.relu_()
        return module.conv(other)

    network = network_of(Does(function), SMALL)
    assert kinds(network) == ["split", "convolution", "eltwise", "relu", "convolution"]


def stale(module: nn.Module, x: Tensor) -> Tensor:
    y = module.conv(x)
    y.flatten(1).relu_()
    return module.conv(y)


CONV3D = nn.Conv3d(1, 1, 1)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda _, x: torch.sigmoid(x), "function sigmoid: an FPGA has no layer for it; accepted"),
        (lambda _, x: x if x.sum() > 0 else -x, "function sum: an FPGA has no layer"),
        (lambda _, x: CONV3D(x.unsqueeze(1)), "a reshape of 3 x 8 x 8 .* to 1 x 3 x 8 x 8"),
        (lambda m, x: F.conv2d(x, m.conv.weight, dilation=2), "dilation 2 x 2; accepted: 1 x 1"),
        (lambda _, x: F.conv2d(x, x.view(3, 1, 8, 8)), "a reshape of 3 x 8 x 8"),
        (lambda _, x: F.conv2d(x, x), "weights that depend on the input; accepted: constants"),
        (lambda m, x: m.end(x), "linear of 4 dimensions; accepted: 2"),
        (lambda _, x: F.batch_norm(x, None, None, training=True), "normalises by its own batch"),
        (lambda _, x: F.dropout(x, training=True), "dropout that stays on in evaluation mode"),
        (lambda _, x: F.max_pool2d(x, 2, return_indices=True), "no layer|returns indices"),
        (lambda _, x: F.adaptive_avg_pool2d(x, 3), "adaptive pool of 8 x 8 to 3 x 3; accepted"),
        (lambda _, x: x.mean(1), r"a mean over axes \(1,\); accepted: over rows and cols"),
        (lambda _, x: x.narrow(1, 1, 2), "the part 0:1:1, 1:3:1, .*accepted: the first channels"),
        (lambda _, x: x[:, :, 1::2], "the part 0:1:1, 0:3:1, 1:8:2, 0:8:1 of 3 x 8 x 8"),
        (lambda _, x: x[:, 0], "an index that is no range; accepted: ranges, such as"),
        (lambda _, x: x[:, [2, 0, 1]], "an index that is no range"),
        (lambda _, x: x.flatten(1)[:, :5], "a range of a map after a flatten"),
        (lambda _, x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0)), "else than zeros, or of the batch"),
        (lambda _, x: torch.cat([x, x], 2), "a concatenation along axis 2; accepted: 1"),
        (lambda _, x: torch.cat([x, torch.ones(1, 3, 8, 8)], 1), "a concatenation with a constant"),
        (lambda _, x: F.pad(x, (1, 1), "reflect"), "a padding with something else than zeros"),
        (lambda _, x: F.pad(x, (1, 1), value=1.0), "a padding with something else than zeros"),
        (lambda _, x: x + torch.ones(8, 8), r"a constant of shape \(8, 8\); accepted: one number"),
        (lambda _, x: torch.ones(1, 3, 1, 1).add_(x), "writes into a constant"),
        (lambda _, x: F.softmax(x, 1) + x, "an element-wise add after a softmax; accepted"),
        (lambda *_: torch.ones(3), "an output does not depend on the input, or is no tensor"),
        (lambda _, x: {"scores": x}, "an output does not depend on the input, or is no tensor"),
        (lambda *_: 1 / 0, "division by zero"),
        (stale, "a tensor is used after another view of it was written into"),
    ],
)
def test_refused(function: Callable[[nn.Module, Tensor], Any], reason: str) -> None:
    with pytest.raises(UserError, match=rf"^model 'mine': .*({reason})") as error:
        network_of(Does(function), SMALL, "mine")
    assert "\n" not in str(error.value)


def test_the_layer_is_named() -> None:
    module = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(3, 3, 3), nn.SiLU()))
    reason = "model 'model': layer '1.1', of type SiLU: function silu: an FPGA has no layer for it"
    with pytest.raises(UserError, match=reason):
        network_of(module, SMALL)


def test_inputs_that_are_no_images() -> None:
    with pytest.raises(UserError, match="an example input of 3 dimensions; accepted: 4"):
        network_of(nn.Conv1d(3, 4, 3), torch.empty(1, 3, 8))
