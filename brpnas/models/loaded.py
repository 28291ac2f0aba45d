"""A trained network and what is known of it: the noun LoadedModel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from brpnas.errors import UserError
from brpnas.images import ImageSet, Normalisation, read_image_set

__all__ = ["LoadedModel"]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained network that classifies images.

    Attributes:
        name: as the user named it.
        module: takes (batch, channels, height, width), returns scores (batch, classes);
            float32, in evaluation mode.
        image_shape: channels, height and width; None where only the images can tell.
        classes: how many it tells apart; None where ``image_shape`` is.
        normalisation: what it expects; None where it is not known.
    """

    name: str
    module: nn.Module
    image_shape: tuple[int, int, int] | None = None
    classes: int | None = None
    normalisation: Normalisation | None = None

    def read_images(self, path: Path, *, labels: bool = True) -> ImageSet:
        """Read images as this network takes them: compressed ones are scaled to its size.

        Args:
            path: see `brpnas.images.read_image_set`.
            labels: whether classes are of use; otherwise none are returned, and any will do.

        Raises:
            UserError: they cannot be read, or do not fit; see `check_images`.
        """
        if self.image_shape is None:
            images = read_image_set(path)
        else:
            channels, *size = self.image_shape
            images = read_image_set(path, channels=channels, size=(size[0], size[1]))
        if not labels:
            images = replace(images, y=None, class_names=())
        self.check_images(images)
        return images

    def check_images(self, images: ImageSet) -> None:
        """See to it that the network can classify these images.

        Raises:
            UserError: images of another shape, or labels beyond the classes.
        """
        if self.image_shape is not None:
            channels, height, width = self.image_shape
            if images.x.shape[1:] != (height, width, channels):
                hint = ""
                if images.x.shape[1:] == self.image_shape:
                    hint = "; transpose them: x.transpose(0, 2, 3, 1)"
                raise UserError(
                    f"{images.name}: images of shape {images.x.shape[1:]}, but {self.name} takes "
                    f"{(height, width, channels)} (height, width, channels){hint}"
                )
        if images.y is None or self.classes is None:
            return
        if images.y.max() >= self.classes:
            row = int((images.y >= self.classes).argmax())
            raise UserError(
                f"{images.name}: image {row} is of class {images.y[row]}, but {self.name} knows "
                f"{self.classes} classes, 0 to {self.classes - 1}"
            )
        named = len(images.class_names)
        if named and named != self.classes:
            raise UserError(
                f"{images.name}: {named} subfolders ({images.class_names[0]}, ...), but "
                f"{self.name} knows {self.classes} classes: which is which is not known. Name the "
                f"subfolders by the classes' numbers, 0 to {self.classes - 1}"
            )
