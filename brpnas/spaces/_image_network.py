"""What the networks of all spaces end in: a classifier of images, for each replica of its own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from brpnas.spaces.space import NetworkShape

__all__ = ["ImageNetwork"]


class ImageNetwork(nn.Module):
    """Layers, the mean of each channel over the image, and a linear classifier.

    Args:
        layers: from images to channels.
        channels: of the last layer, for each replica.
        shape: of the network.
    """

    def __init__(self, layers: Sequence[nn.Module], channels: int, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        replicas = shape.replicas
        # A 1x1 convolution is the linear classifier of each replica.
        self.classifier = nn.Conv2d(
            channels * replicas, shape.classes * replicas, 1, groups=replicas
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, replicas * input_channels, size, size) to scores.

        Returns:
            Scores of shape (batch, classes), or (batch, replicas, classes) for several replicas.
        """
        scores: Tensor = self.classifier(self.features(x)).flatten(1)
        replicas = self.shape.replicas
        return scores if replicas == 1 else scores.view(len(x), replicas, -1)
