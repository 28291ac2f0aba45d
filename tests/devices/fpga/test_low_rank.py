"""Residual networks for CIFAR, and networks of which low-rank pairs have taken layers' places."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from brpnas.devices.fpga import FPGADevice, network_of, read_platform
from brpnas.devices.fpga.fpgaconvnet import fpgaconvnet_partitions
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.network import Network
from brpnas.errors import UserError
from brpnas.lowrank import Choice, Factors, Layers, Pair, find_layers, replace, schemes_for
from brpnas.models.digits_cnn import digits_cnn
from brpnas.models.resnet_cifar import resnet_cifar

BOARD = FPGADevice(read_platform("zc706"))
IMAGE = torch.zeros(1, 3, 32, 32)
DIGIT = torch.zeros(1, 1, 8, 8)


@pytest.fixture(scope="module")
def resnet20() -> nn.Module:
    return resnet_cifar(20).eval()


@pytest.fixture(scope="module")
def resnet_layers(resnet20: nn.Module) -> Layers:
    return find_layers(resnet20, IMAGE)


def macs(network: Network) -> int:
    """Multiply-accumulates, without those of batch-norms behind sums."""
    return sum(node.macs for node in network.nodes if ".bn" not in node.name)


def test_shortcuts_without_weights(resnet20: nn.Module, resnet_layers: Layers) -> None:
    network = network_of(resnet20, IMAGE)
    assert Counter(node.kind for node in network.nodes) == {
        **{"convolution": 19, "relu": 19, "split": 9, "eltwise": 9, "inner_product": 1},
        **{"pooling": 2, "pad_channels": 2, "global_pool": 1},
    }
    assert macs(network) == sum(shape.macs for shape in resnet_layers.shapes.values())
    shortcut = [node for node in network.nodes if node.name.startswith("layer2.0.shortcut")]
    assert [(node.kind, node.output) for node in shortcut] == [
        ("pooling", (16, 16, 16)),
        ("pad_channels", (16, 16, 32)),
    ]
    assert shortcut[1].sizes["zeros_before"] == shortcut[1].sizes["zeros_behind"] == 8


def test_shortcuts_take_next_to_nothing(resnet20: nn.Module) -> None:
    design = BOARD.map(network_of(resnet20, IMAGE))
    assert design.fits
    (part,) = design.parts
    rows = zip(part.segment.nodes, part.segment.ways, part.choice, strict=True)
    taken = {node.name: ways.resources[row] for node, ways, row in rows}
    dsp, bram, luts, _, _ = taken["layer2.0.shortcut"]
    assert not taken["layer2.0.shortcut_2"].any()  # the zeros
    assert (dsp, bram) == (0, 0)
    assert luts < 0.001 * BOARD.platform.resources["LUT"]
    # As many multiplications as the board does in a cycle would take this long.
    least = macs(design.problem.network) / 900 / 200e6
    assert least < design.seconds < 4 * least


class Sliced(nn.Module):
    """A shortcut as many write it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2)))


@pytest.mark.parametrize("module", [resnet_cifar(20), Sliced()], ids=["resnet20", "sliced"])
def test_files_have_the_same_layers(module: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "module.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that needs no further package
        torch.onnx.export(module.eval(), (IMAGE,), path, input_names=["x"], dynamo=False)
    of_file, of_module = read_onnx(path), network_of(module, IMAGE)
    assert [(node.kind, node.sizes, node.output) for node in of_file.nodes] == [
        (node.kind, node.sizes, node.output) for node in of_module.nodes
    ]


def test_the_back_end_makes_no_zeros() -> None:
    design = BOARD.map(network_of(Sliced(), IMAGE))
    with pytest.raises(UserError, match="layer 'pad', pad_channels: fpgaConvNet has none of its"):
        fpgaconvnet_partitions(design)


@pytest.mark.parametrize(
    "choice",
    ["separable:r12", "input:g16:r1", "output:g8:r2", "separable:r5+output:g4:r1"],
)
def test_every_family_maps(choice: str, resnet20: nn.Module, resnet_layers: Layers) -> None:
    layers = resnet_layers
    choices = {
        name: Choice.parse("plain:r4" if shape.linear else choice)
        for name, shape in layers.shapes.items()
        if name != "conv1"
    }
    smaller, _ = replace(resnet20, choices, Factors(resnet20, layers, "plain"))
    network = network_of(smaller, IMAGE)
    first = layers.shapes["conv1"].macs
    assert macs(network) == first + sum(
        choice.macs(layers.shapes[name]) for name, choice in choices.items()
    )
    design = BOARD.map(network)
    assert design.fits
    assert len(design.parts) == 1


def test_fewer_multiplications_mostly_take_less_time() -> None:
    module, rng = digits_cnn().eval(), np.random.default_rng(0)
    layers = find_layers(module, DIGIT)
    factors = Factors(module, layers, "plain")
    counts, times = [], []
    for _ in range(16):
        share = rng.uniform(0.15, 0.9)
        choices = {}
        for name, shape in layers.shapes.items():
            schemes = schemes_for(shape)
            scheme = schemes[int(rng.integers(len(schemes)))]
            rank = int(share * shape.macs // int(scheme.macs(shape, 1)))
            if rank and rank in scheme.ranks(shape):
                choices[name] = Choice((Pair(scheme, rank),))
        smaller, _ = replace(module, choices, factors)
        network = network_of(smaller, DIGIT)
        counts.append(macs(network))
        times.append(BOARD.map(network).seconds)
    assert spearmanr(counts, times).statistic > 0.7
