"""Residual networks for CIFAR's 32 x 32 images (He et al., 2016, section 4.2).

A 3 x 3 convolution, three stages of n residual blocks with 16, 32 and 64 channels, and a linear
layer on the average of all positions: 6 n + 2 layers with weights. The shortcuts have no weights
(option A): where a stage halves the image, every second row and column is taken and the new
channels are zero.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ResNetCIFAR", "resnet_cifar"]

_CHANNELS = (16, 32, 64)


class _Shortcut(nn.Module):
    """Takes every second row and column and adds channels of zeros, half on either side."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 1, self.stride)  # devices know it better than an index with a step
        before = (self.channels - x.shape[1]) // 2
        behind = self.channels - x.shape[1] - before
        return F.pad(x, (0, 0, 0, 0, before, behind))


class _Block(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        same = stride == 1 and inputs == channels
        self.shortcut = nn.Identity() if same else _Shortcut(channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + self.shortcut(x))


class ResNetCIFAR(nn.Module):
    """A residual network of ``6 * blocks + 2`` layers; takes (batch, 3, 32, 32).

    Args:
        blocks: in each of the three stages.
        classes: of the images.
    """

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _CHANNELS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_CHANNELS[0])
        self.layer1 = _stage(blocks, _CHANNELS[0], _CHANNELS[0], 1)
        self.layer2 = _stage(blocks, _CHANNELS[0], _CHANNELS[1], 2)
        self.layer3 = _stage(blocks, _CHANNELS[1], _CHANNELS[2], 2)
        self.linear = nn.Linear(_CHANNELS[2], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, shape (batch, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))  # (batch, 64, 8, 8)
        scores: Tensor = self.linear(x.mean((2, 3)))
        return scores


def _stage(blocks: int, inputs: int, channels: int, stride: int) -> nn.Sequential:
    first = _Block(inputs, channels, stride)
    return nn.Sequential(first, *(_Block(channels, channels, 1) for _ in range(blocks - 1)))


def resnet_cifar(layers: int) -> ResNetCIFAR:
    """Build the network of 20, 32, 44, 56 or 110 layers, or any other 6 n + 2."""
    return ResNetCIFAR((layers - 2) // 6)
