from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from brpnas.devices.tflite import schema
from brpnas.devices.tflite.graph import UnsupportedError
from brpnas.devices.tflite.inspect import facts
from brpnas.devices.tflite.writer import MAKER, write
from brpnas.errors import UserError
from brpnas.spaces import NASBench101, NASBench201, NetworkShape

SPACE = NASBench201()
Error = Callable[[nn.Module, Tensor], float]
Randomise = Callable[[nn.Module], nn.Module]
Operators = Callable[[bytes], list[str]]

TOLERANCE = 1e-6
"""Of the largest output: a few roundings of float32, since both sum in their own order."""


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


# The same numbers as torch

LAYERS = {
    "plain": nn.Conv2d(4, 8, 3),
    "same": nn.Conv2d(4, 8, 3, padding=1),
    "same by name": nn.Conv2d(4, 8, (5, 3), padding="same", dilation=2),
    "valid by name": nn.Conv2d(4, 8, 3, padding="valid"),
    "stride 2": nn.Conv2d(4, 8, 3, stride=2, padding=1),
    "uneven": nn.Conv2d(4, 8, (3, 5), stride=(2, 1), padding=(0, 3)),
    "dilated": nn.Conv2d(4, 8, 3, padding=2, dilation=2),
    "groups": nn.Conv2d(4, 8, 3, padding=1, groups=2),
    "depthwise": nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
    "depthwise, stride 2": nn.Conv2d(4, 8, 5, stride=2, padding=2, groups=4),
    "low-rank pair": nn.Sequential(
        nn.Conv2d(4, 2, (3, 1), padding=(1, 0), bias=False), nn.Conv2d(2, 8, (1, 3), padding=(0, 1))
    ),
    "batch-norm": nn.BatchNorm2d(4),
    "conv, norm, activation": nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
    ),
    "norm twice": nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8)),
    "depthwise, norm": nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8), nn.ReLU()),
    "norm, activation": nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()),
    "pool": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "pool, padding counts": nn.AvgPool2d(3, 2, 1),
    "pool, last part cut": nn.AvgPool2d(2, 2, ceil_mode=True),
    "maximum": nn.MaxPool2d(2),
    "maximum, padded": nn.MaxPool2d(3, 2, 1),
    "maximum, last part cut": nn.MaxPool2d(3, 2, ceil_mode=True),
    "mean": nn.AdaptiveAvgPool2d(1),
    "adaptive": nn.Sequential(nn.ConstantPad2d((0, 1, 2, 1), 0.5), nn.AdaptiveAvgPool2d((4, 2))),
    "zero padding": nn.ZeroPad2d(1),
    "classifier": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    "flattened image": nn.Sequential(nn.MaxPool2d(3), nn.Flatten(), nn.Linear(36, 3), nn.Tanh()),
    "norm of rows": nn.Sequential(nn.Flatten(), nn.Linear(4 * 81, 3), nn.BatchNorm1d(3)),
    "activations": nn.Sequential(nn.Hardswish(), nn.Sigmoid(), nn.SiLU(), nn.Hardtanh()),
    "nothing in between": nn.Sequential(nn.Identity(), nn.Dropout(), nn.ReLU()),
    "softmax": nn.Sequential(nn.Flatten(), nn.Softmax(dim=1)),
}

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "twice": lambda x: x + x,
    "operators": lambda x: (2 * x - 1) * (3 - x) / 4 + torch.relu(x) / 2,
    "division by": lambda x: 1 / (x * x + 1),
    "constant by channel": lambda x: x * torch.arange(4.0).view(4, 1, 1) + torch.ones(1, 4, 1, 1),
    "constant image": lambda x: x + torch.arange(4.0 * 81).view(1, 4, 9, 9),
    "zeros": lambda x: torch.add(torch.zeros_like(x), x * 2) + F.relu(torch.zeros_like(x)),
    "squeeze and excite": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "concatenation": lambda x: torch.cat([x, torch.relu(x), torch.ones_like(x)], 1),
    "concatenated rows": lambda x: torch.cat((x, x * 2), dim=-2),
    "mean of all": lambda x: x.mean((2, 3)),
    "mean of channels": lambda x: x.mean(1, keepdim=True),
    "reshape": lambda x: torch.relu(x.reshape(len(x), 2, -1)),
    "reshape to image": lambda x: F.max_pool2d((x * 2).view(x.size(0), 9, 4, x.shape[3]), 2),
    "flatten some": lambda x: (x + 1).flatten(2),
    "squeeze": lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "unsqueeze": lambda x: (x + 1).flatten(1).unsqueeze(1).unsqueeze(-1),
    "clamp": lambda x: x.clamp(min=0) + torch.clamp(x, 0, 6) + F.relu6(x),
    "first channels": lambda x: x.narrow(1, 0, 3) * 2,
    "narrow, from the end": lambda x: torch.narrow(x * 2, -1, -4, length=3),
    "channels apart": lambda x: x[:, :1] * x[:, 1:4],
    "crop": lambda x: x[..., 2:-1, 4:100] + 1,
    "rows of one image": lambda x: x[1:, :, 3:5] + 1,
    "all of it": lambda x: x[:, 0:] + x[...] + x[:3],
    "part of a row": lambda x: x.flatten(1)[:, 5:90].relu(),
    "part of five axes": lambda x: x.reshape(2, 2, 2, 9, 9)[:, :, :1].flatten(1, 2) * 2,
    "used and activated": lambda x: torch.relu(x * 2) + x * 2,
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_torch(name: str, batch: int, error: Error, randomise: Randomise) -> None:
    assert error(randomise(LAYERS[name]), image(batch, 4, 9, 9)) < TOLERANCE


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_torch(name: str, error: Error) -> None:
    assert error(Function(FUNCTIONS[name]), image(2, 4, 9, 9)) < TOLERANCE


@pytest.mark.parametrize("size", [8, 9, 14, 15])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolution_windows(size: int, kernel: int, stride: int, error: Error) -> None:
    for padding in range(kernel):
        layer = nn.Conv2d(2, 3, kernel, stride, padding)
        assert error(layer, image(1, 2, size, size + 1)) < TOLERANCE


@pytest.mark.parametrize("seed", range(4))
def test_cells_equal_torch(seed: int, error: Error, randomise: Randomise) -> None:
    tested = 0
    size = (32, 15, 9, 16)[seed]
    for arch in SPACE.sample(14, np.random.default_rng(seed)):
        if not any(SPACE.graph(arch).live):
            continue
        module = SPACE.build(arch, NetworkShape(cells_per_stage=1 + seed % 2, input_size=size))
        assert error(randomise(module), image(1, 3, size, size)) < TOLERANCE, arch
        tested += 1
    assert tested > 10


@pytest.mark.parametrize(("channels", "replicas"), [(8, 1), (9, 2)])
def test_cells_that_keep_some_channels_equal_torch(
    channels: int, replicas: int, error: Error, randomise: Randomise, operators: Operators
) -> None:
    space, sliced = NASBench101(), 0
    shape = NetworkShape(channels, cells_per_stage=1, replicas=replicas, input_size=8)
    x = image(2, 3 * replicas, 8, 8)
    for arch in space.sample(12, np.random.default_rng(0)):
        module = randomise(space.build(arch, shape))
        assert error(module, x) < TOLERANCE, arch
        sliced += "SLICE" in operators(write(module, x, str(arch)).content)
    assert 0 < sliced < 12


@pytest.mark.parametrize("channels", [7, 128])
def test_every_sampled_cell_of_nasbench101_is_written(channels: int) -> None:
    space, shape = NASBench101(), NetworkShape(channels, cells_per_stage=1, input_size=8)
    for arch in space.sample(40, np.random.default_rng(1)):
        assert write(space.build(arch, shape), image(1, 3, 8, 8), str(arch)).maker == MAKER


def test_several_networks_side_by_side(error: Error, randomise: Randomise) -> None:
    shape = NetworkShape(channels=4, cells_per_stage=1, replicas=3, input_size=16)
    (arch,) = SPACE.sample(1, np.random.default_rng(7))
    assert error(randomise(SPACE.build(arch, shape)), image(2, 9, 16, 16)) < TOLERANCE


def _inverted_residual(width: int) -> nn.Sequential:
    norm = functools.partial(nn.BatchNorm2d, 6 * width)
    return nn.Sequential(
        *(nn.Conv2d(width, 6 * width, 1, bias=False), norm(), nn.ReLU6()),
        *(nn.Conv2d(6 * width, 6 * width, 3, 1, 1, groups=6 * width, bias=False), norm()),
        *(nn.ReLU6(), nn.Conv2d(6 * width, width, 1, bias=False), nn.BatchNorm2d(width)),
    )


class _MobileBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.ModuleList(_inverted_residual(8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return x


def test_mobilenet_blocks(error: Error, randomise: Randomise, operators: Operators) -> None:
    module, x = randomise(_MobileBlocks()), image(1, 3, 32, 32)
    assert error(module, x) < TOLERANCE
    block = ["CONV_2D+RELU6", "DEPTHWISE_CONV_2D+RELU6", "CONV_2D", "ADD"]
    expected = ["TRANSPOSE", "PAD", "CONV_2D", *block, *block, "TRANSPOSE"]
    assert operators(write(module, x, "m").content) == expected


class _ResNet20(nn.Module):
    """He et al. 2016 for CIFAR-10, with shortcuts that drop pixels and add empty channels."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights

    def conv(self, name: str, norm: str, x: Tensor, stride: int = 1) -> Tensor:
        w = self.weights
        x = F.conv2d(x, w[f"{name}.weight"], stride=stride, padding=1)
        parts = (w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv("conv1", "bn1", x))
        for stage in (1, 2, 3):
            for block in (0, 1, 2):
                place = f"layer{stage}.{block}"
                stride = 2 if stage > 1 and block == 0 else 1
                y = F.relu(self.conv(f"{place}.conv1", f"{place}.bn1", x, stride))
                y = self.conv(f"{place}.conv2", f"{place}.bn2", y)
                if stride == 2:
                    extra = x.shape[1] // 2
                    x = F.pad(F.max_pool2d(x, 1, 2), (0, 0, 0, 0, extra, extra))
                x = F.relu(y + x)
        x = F.avg_pool2d(x, x.size(3)).view(x.size(0), -1)
        return F.linear(x, self.weights["linear.weight"], self.weights["linear.bias"])


def test_resnet20_with_real_weights(shared: Path, error: Error, operators: Operators) -> None:
    path = shared / "weights" / "resnet20_cifar10_akamaster.safetensors"
    if not path.is_file():
        pytest.skip(f"real data: no {path}")
    module, x = _ResNet20(load_file(path)), image(2, 3, 32, 32)
    assert error(module, x) < TOLERANCE
    found = operators(write(module, x, "resnet20").content)
    assert sum(name.startswith("CONV_2D") for name in found) == 19
    assert found.count("ADD+RELU") == 9


# What is written


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        # one ReLU for two convolutions of the same tensor, one pool where it is written twice
        (
            "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|avg_pool_3x3~0|avg_pool_3x3~1|none~2|",
            {"AVERAGE_POOL_2D": 3 * 2 + 2, "CONV_2D+RELU": 2, "CONV_2D": 1 + 3 + 4 + 1 - 0},
        ),
        ("|skip_connect~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|none~2|", {"ADD": 3 + 2}),
    ],
)
def test_operators_of_a_cell(
    arch: str, expected: dict[str, int], operators: Operators, randomise: Randomise
) -> None:
    module = randomise(SPACE.build(SPACE.parse(arch), NetworkShape(cells_per_stage=1)))
    found = operators(write(module, image(1, 3, 32, 32), arch).content)
    assert found[0] == "TRANSPOSE"
    assert found[-1] == "RESHAPE"
    # the last batch-norm has no convolution to go into
    for name, count in expected.items():
        assert sum(one == name for one in found) == count, found


def test_the_same_module_gives_the_same_bytes_and_is_left_as_it_was() -> None:
    (arch,) = SPACE.sample(1, np.random.default_rng(3))
    module = SPACE.build(arch, NetworkShape(cells_per_stage=1))
    module.train()
    module.features[1].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    first, second = (write(module, image(1, 3, 32, 32), "a") for _ in range(2))
    assert first.content == second.content
    assert (first.name, first.maker) == ("a", MAKER)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.training
    assert not module.features[1].training


def test_equal_constants_are_stored_once() -> None:
    plain = [nn.Conv2d(8, 8, 1, bias=False) for _ in range(6)]
    networks = (nn.Sequential(*plain[:2]), nn.Sequential(*plain))
    sizes = [len(write(one, image(1, 8, 4, 4), "m").content) for one in networks]
    # four more layers: their weights, and no four more biases of zeros, shapes or options
    assert 4 * 256 < sizes[1] - sizes[0] < 4 * (256 + 180)


def test_weights_are_aligned() -> None:
    # Odd numbers of channels: every constant has a length that is no multiple of 16 bytes.
    layers = [nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 1, 1), nn.Conv2d(1, 7, 1)]
    content = write(nn.Sequential(*layers), image(1, 3, 9, 9), "m").content
    model = schema.tables().Model.GetRootAs(content, 0)
    vectors = [model.Buffers(index) for index in range(1, model.BuffersLength())]
    assert len(vectors) >= 6
    for vector in vectors:
        start = vector._tab.Vector(vector._tab.Offset(4))
        assert start % 16 == 0
        assert vector.DataLength() > 0


def test_signature_and_shapes() -> None:
    model = write(nn.Conv2d(3, 5, 3), image(2, 3, 6, 7), "m")
    seen = facts(model.content, "m")
    assert [(one.shape, one.dtype) for one in seen.inputs] == [((2, 3, 6, 7), "FLOAT32")]
    assert [one.shape for one in seen.outputs] == [(2, 5, 4, 5)]
    assert seen.signature == ("serving_default", "input")


# What is refused


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (nn.Sequential(nn.ReLU(), nn.Sequential(nn.PixelShuffle(2))), "'1.0', a PixelShuffle"),
        (nn.Conv2d(5, 4, 3), "expected 5 channels, got 4"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "mode 'reflect'"),
        (nn.Conv2d(4, 4, 30), "a window of 30 on an image of 9"),
        (nn.Linear(4, 4), "linear layer on a tensor with 4 dimensions"),
        (nn.BatchNorm2d(4, track_running_stats=False), "normalises by its own batch"),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), "average pool"),
        (nn.AvgPool2d(2, divisor_override=3), "average pool"),
        (nn.AvgPool2d(3, 3, 1, count_include_pad=False), "average pool"),
        (nn.MaxPool2d(2, dilation=2), "dilation"),
        (nn.AdaptiveAvgPool2d(2), "parts overlap"),
        (nn.Hardtanh(-2, 2), "clamp to -2"),
        (nn.Conv2d(4, 4, 1).double(), "float64"),
        (Function(lambda x: x.flatten(1) + torch.ones(1, 4, 9, 9)), "more dimensions"),
        (Function(lambda x: x.sum()), "function sum"),
        (Function(lambda x: x if x.mean() > 0 else -x), "function"),
        (Function(lambda x: (x, x)), "returns a tuple"),  # type: ignore[arg-type, return-value]
        (Function(lambda x: x.view(7, -1)), "shape"),
        (Function(lambda x: x.narrow(1, 2, 3)), "3 from 2 on, along axis 1 of 4"),
        (Function(lambda x: x[:, 4:]), "0 from 4 on, along axis 1 of 4"),
        (Function(lambda x: x[:, ::2]), "no range without a step"),
        (Function(lambda x: x[:, torch.tensor([2, 0])]), "no range without a step"),
        (Function(lambda x: x[:, :, :, :, :1]), "axis 4 of a tensor with 4"),
        (Function(lambda x: torch.cat([x, x.mean(1, keepdim=True)], 2)), "concatenation"),
    ],
)
def test_what_is_not_known_is_named(module: nn.Module, named: str) -> None:
    with pytest.raises(UnsupportedError, match=named) as caught:
        write(module.eval(), image(1, 4, 9, 9), "net")
    assert "'net'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_float32_inputs() -> None:
    with pytest.raises(UnsupportedError, match="float64"):
        write(nn.ReLU(), image(1, 3, 4, 4).double(), "net")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Function(torch.zeros_like), "does not depend on its input"),
        (SPACE.build(SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")), "not depend"),
        (nn.Identity(), "computes nothing"),
    ],
)
def test_networks_that_do_nothing(module: nn.Module, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        write(module, image(1, 3, 32, 32), "net")
    assert not isinstance(caught.value, UnsupportedError)  # another converter would not help
