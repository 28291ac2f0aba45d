"""The torch network around a NAS-Bench-201 cell, as in Dong & Yang, ICLR 2020, figure 1."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from brpnas.spaces._cell_function import EDGES
from brpnas.spaces._image_network import ImageNetwork
from brpnas.spaces.space import NetworkShape

__all__ = ["CellNetwork"]


def _conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )


class _ReluConvNorm(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__(
            nn.ReLU(), _conv(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs)
        )


def _operation(name: str, channels: int, groups: int) -> nn.Module:
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return _ReluConvNorm(channels, channels, 1 if name == "nor_conv_1x1" else 3, 1, groups)


class _Cell(nn.Module):
    """Four nodes; each is the sum of the operations that lead to it."""

    def __init__(self, operations: tuple[str, ...], channels: int, groups: int) -> None:
        super().__init__()
        self.operations = nn.ModuleDict(
            {
                f"{source}to{target}": _operation(name, channels, groups)
                for (source, target), name in zip(EDGES, operations, strict=True)
                if name != "none"
            }
        )

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, height, width), all nodes alike
        nodes = [x]
        for target in (1, 2, 3):
            arriving = [
                self.operations[f"{source}to{target}"](nodes[source])
                for source in range(target)
                if f"{source}to{target}" in self.operations
            ]
            # sum() would start from the integer 0 and add one more operation to every node.
            nodes.append(functools.reduce(torch.add, arriving) if arriving else torch.zeros_like(x))
        return nodes[3]


class _Reduction(nn.Module):
    """The residual block with stride 2 between two stages."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            _ReluConvNorm(inputs, outputs, 3, 2, groups),
            _ReluConvNorm(outputs, outputs, 3, 1, groups),
        )
        # ceil_mode keeps both branches of one size where the image's size is odd.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), _conv(inputs, outputs, 1, 1, groups)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.main(x), self.shortcut(x))


class CellNetwork(ImageNetwork):
    """Stem, three stages of cells with reductions between them, classifier.

    Every operation that is written is held and run, dead branches included, as in the official
    networks; an operation that is fed by nothing sees zeros.

    Args:
        operations: the six operations of the cell, in the order of its string.
        shape: widths, depths and image size.
    """

    def __init__(self, operations: tuple[str, ...], shape: NetworkShape) -> None:
        groups = shape.replicas
        width = shape.channels * groups
        layers: list[nn.Module] = [
            _conv(shape.input_channels * groups, width, 3, 1, groups),
            nn.BatchNorm2d(width),
        ]
        for stage in range(3):
            if stage:
                layers.append(_Reduction(width, 2 * width, groups))
                width *= 2
            layers += [_Cell(operations, width, groups) for _ in range(shape.cells_per_stage)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(layers, width // groups, shape)
