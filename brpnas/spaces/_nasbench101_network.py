"""The torch network around a NAS-Bench-101 cell, as in Ying et al., ICML 2019, figure 1."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.spaces._image_network import ImageNetwork
from brpnas.spaces._nasbench101_costs import KERNELS, cell_widths, live_edges, vertex_channels
from brpnas.spaces.space import NetworkShape

__all__ = ["ModuleNetwork"]


class _ConvNormReLU(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        inputs, outputs = inputs * groups, outputs * groups
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


def _operation(option: int, channels: int, groups: int) -> nn.Module:
    kernel = KERNELS[option]
    if not kernel:
        return nn.MaxPool2d(3, stride=1, padding=1)
    return _ConvNormReLU(channels, channels, kernel, groups)


class _Module(nn.Module):
    """One cell: projections of its input, operations on sums, concatenated outputs."""

    def __init__(
        self, bits: int, labels: tuple[int, ...], inputs: int, outputs: int, groups: int
    ) -> None:
        super().__init__()
        vertices = len(labels) + 2
        self._last, self._groups = vertices - 1, groups
        self._channels = vertex_channels(vertices, bits, inputs, outputs)
        self._sources: dict[int, list[int]] = {}  # by target, without the input
        self.projections = nn.ModuleDict()
        self.operations = nn.ModuleDict()
        for source, target in live_edges(vertices, bits):
            feeding = self._sources.setdefault(target, [])
            width = self._channels[target]
            if source:
                feeding.append(source)
            else:
                self.projections[str(target)] = _ConvNormReLU(inputs, width, 1, groups)
            if target != self._last and str(target) not in self.operations:
                self.operations[str(target)] = _operation(labels[target - 1], width, groups)

    def forward(self, x: Tensor) -> Tensor:  # (batch, replicas * channels, height, width)
        values: dict[int, Tensor] = {}
        for vertex in sorted(self._sources):
            feeding = [values[source] for source in self._sources[vertex]]
            if vertex == self._last:
                arriving = [self._joined(feeding)] if feeding else []
            else:
                arriving = [self._first(value, self._channels[vertex]) for value in feeding]
            if str(vertex) in self.projections:
                arriving.append(self.projections[str(vertex)](x))
            values[vertex] = functools.reduce(torch.add, arriving)
            if vertex != self._last:
                values[vertex] = self.operations[str(vertex)](values[vertex])
        return values[self._last]

    def _first(self, x: Tensor, channels: int) -> Tensor:
        """Keep the first channels of each replica."""
        if x.shape[1] == channels * self._groups:
            return x
        if self._groups == 1:
            return x.narrow(1, 0, channels)
        return self._apart(x)[:, :, :channels].flatten(1, 2)

    def _joined(self, values: list[Tensor]) -> Tensor:
        """Concatenate the channels of each replica."""
        if len(values) == 1:
            return values[0]
        if self._groups == 1:
            return torch.cat(values, 1)
        return torch.cat([self._apart(value) for value in values], 2).flatten(1, 2)

    def _apart(self, x: Tensor) -> Tensor:  # (batch, replicas, channels, height, width)
        return x.reshape(len(x), self._groups, -1, *x.shape[2:])


class ModuleNetwork(ImageNetwork):
    """Stem, three stacks of cells with max-pools between them, classifier.

    Only what survives pruning is held and run, as in the official networks.

    Args:
        bits: of the cell's matrix.
        labels: operation number of each inner vertex.
        shape: widths, depths and image size.

    Raises:
        UserError: fewer channels than vertices that split them.
    """

    def __init__(self, bits: int, labels: tuple[int, ...], shape: NetworkShape) -> None:
        last = len(labels) + 1
        edges = live_edges(last + 1, bits)
        splitting = sum(target == last and source != 0 for source, target in edges)
        if shape.channels < splitting:
            raise UserError(
                f"{splitting} vertices of the cell split the channels of its output: "
                f"a network needs at least {splitting}, not {shape.channels}"
            )
        groups = shape.replicas
        stem = _ConvNormReLU(shape.input_channels, shape.channels, 3, groups)
        layers: list[nn.Module] = [stem]
        for place, (inputs, outputs, _) in enumerate(cell_widths(shape)):
            if place and place % shape.cells_per_stage == 0:
                layers.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
            layers.append(_Module(bits, labels, inputs, outputs, groups))
        super().__init__(layers, 4 * shape.channels, shape)
