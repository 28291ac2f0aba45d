"""The sizes of a layer that low-rank pairs may take the place of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LayerShape", "Positions"]


@dataclass(frozen=True)
class Positions:
    """Where a layer is applied, over all images of the example and all calls.

    Attributes:
        inputs: positions of its input (of a linear layer: vectors).
        rows: rows of its input times columns of its output.
        outputs: positions of its output.
    """

    inputs: int
    rows: int
    outputs: int

    def __add__(self, other: Positions) -> Positions:
        return Positions(
            self.inputs + other.inputs, self.rows + other.rows, self.outputs + other.outputs
        )


@dataclass(frozen=True)
class LayerShape:
    """Sizes of a convolution without groups, or of a linear layer.

    Attributes:
        outputs: its output channels or features.
        inputs: its input channels or features.
        kernel: height and width; (1, 1) of a linear layer.
        linear: whether it is a linear layer.
        bias: whether it has a bias.
        positions: where it is applied.
        input_size: the shape of its input at its first call, with the batch.
        output_size: that of its output.
    """

    outputs: int
    inputs: int
    kernel: tuple[int, int]
    linear: bool
    bias: bool
    positions: Positions
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]

    @property
    def patch(self) -> int:
        """Numbers that one output position sees."""
        return self.inputs * self.kernel[0] * self.kernel[1]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layer as it is, over all images of the example."""
        return self.positions.outputs * self.outputs * self.patch

    @property
    def params(self) -> int:
        """Parameters of the layer as it is."""
        return self.outputs * self.patch + (self.outputs if self.bias else 0)
