"""What a repair is given and what it is: the nouns Job and Repair."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.errors import UserError, one_line
from brpnas.evaluating import evaluating
from brpnas.lowrank.schemes import Choice

__all__ = ["BATCH", "LEAST_IMAGES", "Frame", "Job", "Progress", "Repair", "distance", "outputs"]

Progress = Callable[[int, int], None]
"""Called with the steps that are done, and how many there are."""
LEAST_IMAGES = 32
_HELD_SHARE = 8  # one of so many images
BATCH = 64  # of larger ones, networks of small images do not run faster


@dataclass(frozen=True, eq=False)
class Frame:
    """What is known of images where there are none.

    Attributes:
        shape: channels, height and width that the networks take.
        bounds: the least and the greatest value of each channel, shape (2, c), or None.
    """

    shape: tuple[int, int, int]
    bounds: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """A compressed network to be repaired.

    Attributes:
        original: the network that was compressed.
        compressed: what became of it.
        layers: what took the place of its layers, by their name.
        images: as the networks take them, shape (n, c, h, w), float32, if there are any.
        frame: of images, to make some from noise, if it is known.
        seed: of everything random.
        folder: to continue in after a kill.
        progress: told of each step.
    """

    original: nn.Module
    compressed: nn.Module
    layers: Mapping[str, Choice]
    images: Tensor | None = None
    frame: Frame | None = None
    seed: int = 0
    folder: Path | None = None
    progress: Progress | None = None

    def tell(self, done: int, total: int) -> None:
        """Tell of steps that are done."""
        if self.progress is not None:
            self.progress(done, total)

    def split(self) -> tuple[Tensor, Tensor]:
        """Return images to repair with, and others, one of eight, to judge the result by.

        Raises:
            UserError: fewer than 32 images.
        """
        count = 0 if self.images is None else len(self.images)
        if self.images is None or count < LEAST_IMAGES:
            raise _too_few(count)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        held = order[: count // _HELD_SHARE]
        return self.images[order[len(held) :]], self.images[held]


def _too_few(images: int) -> UserError:
    """Return the error of too few images."""
    return UserError(
        f"{images} calibration images to repair with: it needs {LEAST_IMAGES} or more (of "
        "those of a search, a third judges: give it 48)"
    )


class Repair(ABC):
    """A way to make good what compression did; its attributes are its settings.

    Attributes:
        needs_images: whether it needs calibration images.
    """

    needs_images: ClassVar[bool]

    def check(self, original: nn.Module, images: int) -> None:  # noqa: ARG002 - of those that look
        """Check what can be known before there is a compressed network.

        Args:
            original: the network that is compressed.
            images: how many there are for calibration.

        Raises:
            UserError: too few images, or a network that this repair does not work on.
        """
        if self.needs_images and images < LEAST_IMAGES:
            raise _too_few(images)

    @abstractmethod
    def run(self, job: Job) -> nn.Module:
        """Return a repaired copy of the compressed network; nothing of the job is changed.

        Raises:
            UserError: networks or images that it cannot work with.
        """


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    """Return what a network says in evaluation mode, shape (n, classes).

    Raises:
        UserError: the network does not run on the images.
    """
    with evaluating(model), torch.no_grad():
        try:
            scores = torch.cat([model(x) for x in torch.split(images, BATCH)])
        except (RuntimeError, ValueError, TypeError) as error:
            size = " x ".join(map(str, images.shape))
            raise UserError(
                f"the network does not run on images of {size}: {one_line(error)}"
            ) from error
    return scores


def distance(wanted: Tensor, given: Tensor) -> float:
    """Return the mean Kullback-Leibler divergence of classes' probabilities, in nats.

    Scores that are not finite are infinitely far.

    Args:
        wanted: scores of the original network, shape (n, classes).
        given: of the other, in the same shape.
    """
    logs = [scores.double().log_softmax(1) for scores in (given, wanted)]
    found = float(F.kl_div(logs[0], logs[1], reduction="batchmean", log_target=True))
    # Rounding may make it less than nothing.
    return max(found, 0.0) if math.isfinite(found) else math.inf
