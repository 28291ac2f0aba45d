"""The networks that the package can build, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from brpnas.images import CIFAR10, IMAGENET, Normalisation
from brpnas.models.digits_cnn import digits_cnn
from brpnas.models.efficientnet_lite import efficientnet_lite0
from brpnas.models.resnet_cifar import resnet_cifar
from brpnas.models.vit_cifar import vit_cifar

__all__ = ["BUILTIN", "DIGITS_PIXELS", "Builtin"]

DIGITS_PIXELS = Normalisation((0.266712,), (0.317857,))
"""Mean and deviation of the training images of `brpnas.evaluate.digits.distorted_digits`."""
_MINUS_ONE_TO_ONE = Normalisation((127 / 255,) * 3, (128 / 255,) * 3)
"""(x - 127) / 128 for x in 0 .. 255."""


@dataclass(frozen=True)
class Builtin:
    """A network of the package.

    Attributes:
        title: what it is, in one line.
        build: makes it, with weights drawn at random.
        image_shape: channels, height and width that it takes.
        classes: how many it tells apart.
        normalisation: what it expects, if trained as its weights known to us were.
        weights: of a trained one, where they come with the package.
    """

    title: str
    build: Callable[[], nn.Module]
    image_shape: tuple[int, int, int]
    classes: int
    normalisation: Normalisation
    weights: Path | None = None


def _resnet(layers: int) -> Builtin:
    # The weights that are around for these were trained with ImageNet's mean and deviation.
    title = f"ResNet-{layers} for CIFAR-10, shortcuts without weights"
    build = functools.partial(resnet_cifar, layers)
    return Builtin(title, build, (3, 32, 32), 10, IMAGENET)


BUILTIN: dict[str, Builtin] = {
    "digits-cnn": Builtin(
        "four convolutions for digits of 8 x 8 pixels; comes with weights",
        digits_cnn,
        (1, 8, 8),
        10,
        DIGITS_PIXELS,
        Path(__file__).with_name("digits-cnn.safetensors"),
    ),
    **{f"resnet{layers}-cifar": _resnet(layers) for layers in (20, 32, 44, 56, 110)},
    "vit6x128-cifar": Builtin(
        "vision transformer of 6 blocks, width 128, for CIFAR-10",
        vit_cifar,
        (3, 32, 32),
        10,
        CIFAR10,
    ),
    "efficientnet-lite0": Builtin(
        "EfficientNet-Lite0 for ImageNet",
        efficientnet_lite0,
        (3, 224, 224),
        1000,
        _MINUS_ONE_TO_ONE,
    ),
}
"""By the name that users type."""
