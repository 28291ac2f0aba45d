"""Networks that many know, as torch modules without weights, and a writer of ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor, nn

from brpnas.devices.fpga import LAYERS, evaluate_layers
from brpnas.devices.fpga.network import Network


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    padding = kernel // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """A basic block of He et al., "Deep Residual Learning", CVPR 2016."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*conv_norm(inputs, outputs, 3, stride))
        self.second = nn.Sequential(*conv_norm(outputs, outputs, 3))
        self.relu = nn.ReLU(inplace=True)
        same = inputs == outputs
        self.shortcut = nn.Sequential(*([] if same else conv_norm(inputs, outputs, 1, stride)))

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.relu(self.first(x)))
        out += self.shortcut(x)
        return self.relu(out)


def resnet18() -> nn.Module:
    layers = [*conv_norm(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for outputs in (64, 128, 256, 512):
        layers += [Residual(width, outputs, outputs // width), Residual(outputs, outputs, 1)]
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def vgg16() -> nn.Module:
    """Simonyan and Zisserman, ICLR 2015, configuration D."""
    layers: list[nn.Module] = []
    width = 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            width = outputs
        layers.append(nn.MaxPool2d(2, 2))
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten()]
    for inputs, outputs in ((512 * 49, 4096), (4096, 4096)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(4096, 1000))


class Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, wider: int) -> None:
        super().__init__()
        width = inputs * wider
        expand = [*conv_norm(inputs, width, 1), nn.ReLU6()] if wider > 1 else []
        depthwise = [*conv_norm(width, width, 3, stride, width), nn.ReLU6()]
        self.layers = nn.Sequential(*expand, *depthwise, *conv_norm(width, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def mobilenet_v2() -> nn.Module:
    """Sandler et al., CVPR 2018, table 2."""
    layers: list[nn.Module] = [*conv_norm(3, 32, 3, 2), nn.ReLU6()]
    width = 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2))
    for wider, outputs, count, stride in (*table, (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for place in range(count):
            layers.append(Inverted(width, outputs, 1 if place else stride, wider))
            width = outputs
    layers += [*conv_norm(320, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(1280, 1000))


class Gated(nn.Module):
    """What the others do not have: gates, branches, hard-swishes, rectangles, a mean, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 16, 3, 2), nn.Hardswish())
        self.less, self.more = nn.Linear(16, 4), nn.Linear(4, 16)
        self.narrow = nn.Conv2d(16, 8, (3, 1), padding="same", groups=4)
        self.wide = nn.Conv2d(16, 24, (1, 5), stride=(2, 1), padding=(0, 2))
        self.norm = nn.BatchNorm2d(40)
        self.end = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = self.more(F.relu(self.less(F.adaptive_avg_pool2d(x, 1).flatten(1))))
        x = x * F.relu6(gate).view(-1, 16, 1, 1)
        y = F.max_pool2d(self.wide(x), (1, 3), stride=(1, 1), padding=(0, 1))
        z = F.avg_pool2d(self.narrow(x), (2, 1), ceil_mode=True)
        first = y.narrow(1, 0, 8)
        w = F.hardsigmoid(first) * first
        x = self.norm(torch.cat([y, z, w], 1))
        return F.softmax(self.end(x.mean([2, 3])), 1)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": resnet18,
    "vgg16": vgg16,
    "mobilenet_v2": mobilenet_v2,
    "gated": Gated,
}


@pytest.fixture
def known_module() -> Callable[[str], nn.Module]:
    """Makes a module of MODULES on the device "meta": at once, whatever its size."""

    def make(name: str) -> nn.Module:
        with torch.device("meta"):
            return MODULES[name]()

    return make


@pytest.fixture
def evaluate() -> Callable[[Network], pd.DataFrame]:
    """Evaluates every layer of a network, not folded; a row for each."""

    def evaluate(network: Network) -> pd.DataFrame:
        ones = {"data_width": 16, "weight_width": 16, "acc_width": 30, "buffer_depth": 64}
        rows: dict[str, dict[str, dict[str, Any]]] = {}
        for node in network.nodes:
            columns = {name: ones.get(name, 1) for name in LAYERS[node.kind].inputs}
            assert set(columns) >= set(node.sizes), node
            rows.setdefault(node.kind, {})[node.name] = {**columns, **node.sizes}
        return pd.concat(
            evaluate_layers(kind, pd.DataFrame(list(table.values()), index=list(table)))
            for kind, table in rows.items()
        )

    return evaluate


Constants = Mapping[str, tuple[int, ...] | list[int]]


@pytest.fixture
def save_onnx(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model from ``x`` to ``y``, given the layers in ONNX's text syntax.

    A constant that is a tuple has this shape and holds zeros, or its numbers are in a file that is
    not there; one that is a list holds these integers.
    """

    def save(
        layers: str,
        constants: Constants | None = None,
        shape: str = "1, 3, 8, 8",
        *,
        opset: int = 17,
        external: bool = False,
    ) -> Path:
        graph = onnx.parser.parse_graph(f"g (float[{shape}] x) => (float[n, m] y) {{ {layers} }}")
        for name, constant in (constants or {}).items():
            if isinstance(constant, list):
                whole = helper.make_tensor(name, TensorProto.INT64, [len(constant)], constant)
                graph.initializer.append(whole)
                continue
            zeros = graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=constant)
            if external:
                zeros.data_location = TensorProto.EXTERNAL
                zeros.external_data.add(key="location", value="absent.bin")
            else:
                zeros.raw_data = bytes(4 * torch.Size(constant).numel())
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return save
