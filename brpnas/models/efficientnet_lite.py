"""EfficientNet-Lite0 for ImageNet (Tan and Le, 2019; Google's version for phones, 2020).

EfficientNet-B0 without squeeze-and-excitation and with ReLU6 for Swish: a strided convolution, 16
inverted bottlenecks (1 x 1 wider, depthwise, 1 x 1 narrower), a 1 x 1 convolution and a linear
layer on the average of all positions. Keys are those that its weights are around with:
``_conv_stem`` and ``_bn0``; ``_blocks.<i>`` with ``_expand_conv`` and ``_bn0`` (but in the first
block), ``_depthwise_conv`` and ``_bn1``, ``_project_conv`` and ``_bn2``; ``_conv_head`` and
``_bn1``; ``_fc``. There is no dropout: it plays no part once the network is trained.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EfficientNetLite0", "efficientnet_lite0"]

_STAGES = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self._expands = expansion > 1
        if self._expands:
            self._expand_conv = _convolution(inputs, hidden)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = _convolution(hidden, hidden, kernel, stride, hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = _convolution(hidden, outputs)
        self._bn2 = _norm(outputs)
        self._window = (kernel, stride)
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        seen = F.relu6(self._bn1(self._depthwise_conv(_padded(wide, *self._window))))
        out: Tensor = self._bn2(self._project_conv(seen))
        return out + x if self._adds else out


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0; takes (batch, 3, height, width), made for 224 x 224.

    Args:
        classes: of the images.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self._conv_stem = _convolution(3, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        self._blocks = nn.Sequential()
        inputs = _STEM
        for blocks, kernel, stride, expansion, outputs in _STAGES:
            for i in range(blocks):
                step = stride if i == 0 else 1
                self._blocks.append(_Block(inputs, outputs, kernel, step, expansion))
                inputs = outputs
        self._conv_head = _convolution(inputs, _HEAD)
        self._bn1 = _norm(_HEAD)
        self._fc = nn.Linear(_HEAD, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, shape (batch, classes)."""
        x = F.relu6(self._bn0(self._conv_stem(_padded(x, 3, 2))))
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))  # (batch, 1280, 7, 7)
        scores: Tensor = self._fc(x.mean((2, 3)))
        return scores


def _convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0  # see _padded
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad as TensorFlow's SAME does where the convolution has a stride: the odd one goes behind."""
    if stride == 1:
        return x
    sides = []
    for size in (x.shape[3], x.shape[2]):
        lacking = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides += [lacking // 2, lacking - lacking // 2]
    return F.pad(x, sides)


def efficientnet_lite0() -> EfficientNetLite0:
    """Build the network for ImageNet's 1,000 classes."""
    return EfficientNetLite0()
