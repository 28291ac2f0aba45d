"""A space: stacks of convolutions that differ in their widths."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from brpnas.errors import UserError
from brpnas.spaces import CategoricalSpace, Graph, GraphSchema, NetworkShape
from torch import Tensor, nn

_STAGES, _MULTIPLES = 4, (1, 2, 3, 4)


@dataclass(frozen=True)
class Stack:
    """An architecture: how many times the first channels each stage has, such as ``1-2-2-4``."""

    multiples: tuple[int, ...]

    def __str__(self) -> str:
        return "-".join(map(str, self.multiples))


class Stacks(CategoricalSpace[Stack]):
    """256 networks of four stages; the image is halved before each but the first."""

    name = "stacks"  # as its entry point
    choices = (len(_MULTIPLES),) * _STAGES
    schema = GraphSchema("stacks", ("input", "stage", "output"), ("multiple", "macs_m"))
    shape = NetworkShape(channels=8, cells_per_stage=1)

    def parse(self, text: str) -> Stack:
        """Read a text such as ``1-2-2-4``."""
        for stack in self:
            if str(stack) == text:
                return stack
        raise UserError(f"'{text[:100]}' is no stack: accepted are four of 1 to 4, as 1-2-2-4")

    def encode(self, arch: Stack) -> tuple[int, ...]:
        """Return the place of each stage's multiple."""
        return tuple(_MULTIPLES.index(multiple) for multiple in arch.multiples)

    def decode(self, options: Sequence[int]) -> Stack:
        """Return the stack with multiples at these places."""
        return Stack(tuple(_MULTIPLES[option] for option in options))

    def graph(self, arch: Stack) -> Graph:
        """Draw the stages in a row, with the multiply-accumulates of each in millions."""
        channels = [self.shape.input_channels]
        channels += [self.shape.channels * multiple for multiple in arch.multiples]
        pixels = [(self.shape.input_size >> stage) ** 2 for stage in range(_STAGES)]
        macs = [
            9 * pixels[stage] * channels[stage] * channels[stage + 1] for stage in range(_STAGES)
        ]
        nodes = _STAGES + 2
        return Graph(
            self.schema,
            operations=np.array([0] + [1] * _STAGES + [2]),
            numbers=np.array(
                [[0, *arch.multiples, 0], [0, *np.array(macs) / 1e6, 0]], dtype=np.float32
            ).T,  # (nodes, numbers)
            edges=np.array([(node, node + 1) for node in range(nodes - 1)]),
            live=np.ones(nodes, dtype=bool),
        )

    def build(self, arch: Stack, shape: NetworkShape | None = None) -> nn.Module:
        """Make the torch module."""
        return _Network(arch, shape or self.shape)


class _Network(nn.Module):
    """Its replicas, which are trained side by side, are groups of each convolution."""

    def __init__(self, arch: Stack, shape: NetworkShape) -> None:
        super().__init__()
        self.replicas = groups = shape.replicas
        layers: list[nn.Module] = []
        before = shape.input_channels * groups
        for stage, multiple in enumerate(arch.multiples):
            width = shape.channels * multiple * groups
            for cell in range(shape.cells_per_stage):
                stride = 2 if stage and not cell else 1
                layers += [
                    nn.Conv2d(before, width, 3, stride, 1, groups=groups, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
                before = width
        scores = nn.Conv2d(before, shape.classes * groups, 1, groups=groups)
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), scores)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to scores: (batch, classes), or (batch, replicas, classes) for several."""
        scores: Tensor = self.layers(x).flatten(1)
        return scores if self.replicas == 1 else scores.view(len(x), self.replicas, -1)
