"""A small network for digits of 8 x 8 pixels, with more weights than they need."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DigitsCNN", "digits_cnn"]


class DigitsCNN(nn.Module):
    """Four 3 x 3 convolutions of 32 and 64 channels and a linear layer; takes (batch, 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_layer(1, 32, 1),
            *_layer(32, 64, 1),
            *_layer(64, 64, 2),
            *_layer(64, 64, 1),
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, shape (batch, 10)."""
        scores: Tensor = self.linear(self.features(x).mean((2, 3)))
        return scores


def _layer(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def digits_cnn() -> DigitsCNN:
    """Build the network."""
    return DigitsCNN()
