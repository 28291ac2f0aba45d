"""Repair of a compressed network: by what the original network says, never by labels.

    repaired = repair("lsq", model, smaller, choices, images)

| name        | needs              | what it does                                            |
|-------------|--------------------|---------------------------------------------------------|
| none        |                    | nothing                                                 |
| bn          | images, batch norm | statistics of batch norm, mixed with new ones           |
| lsq         | images             | pairs found again, for what they see in the new network |
| calibration | images             | lsq, then all is trained to say what the original says  |
| synthetic   | batch norm         | the same, on images made from noise                     |

Each but ``none`` is judged by images that were held out, and what does not help is not done.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from brpnas.errors import UserError, unknown_name
from brpnas.lowrank.repair.bn import BatchNorm
from brpnas.lowrank.repair.calibration import Calibration
from brpnas.lowrank.repair.job import Frame, Job, Progress, Repair
from brpnas.lowrank.repair.lsq import LeastSquares
from brpnas.lowrank.repair.none import Nothing
from brpnas.lowrank.repair.synthetic import Synthetic
from brpnas.lowrank.schemes import Choice

__all__ = ["REPAIRS", "check_repair", "repair"]

REPAIRS: dict[str, Repair] = {
    "none": Nothing(),
    "bn": BatchNorm(),
    "lsq": LeastSquares(),
    "synthetic": Synthetic(),
    "calibration": Calibration(),
}
"""By the name that users type, with their usual settings."""


def check_repair(name: str, original: nn.Module, images: int) -> None:
    """Check a repair before there is anything to repair.

    Args:
        name: one of `REPAIRS`.
        original: the network that will be compressed.
        images: how many there are for calibration.

    Raises:
        UserError: no such repair, too few images, or a network that it does not work on.
    """
    if name not in REPAIRS:
        raise unknown_name("repair", name, REPAIRS)
    try:
        REPAIRS[name].check(original, images)
    except UserError as error:
        raise UserError(f"repair '{name}': {error}") from None


def repair(
    name: str,
    original: nn.Module,
    compressed: nn.Module,
    layers: Mapping[str, Choice],
    images: Tensor | None = None,
    *,
    image_shape: tuple[int, int, int] | None = None,
    bounds: Tensor | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Return a repaired copy of a compressed network.

    Args:
        name: one of `REPAIRS`.
        original: the network that was compressed.
        compressed: what became of it.
        layers: what took the place of its layers, by their name.
        images: calibration images as the networks take them, shape (n, c, h, w), float32.
        image_shape: channels, height and width of an image; by default that of ``images``.
        bounds: the least and the greatest value of each channel, shape (2, c), which images made
            from noise keep to: (0 - mean) / std and (1 - mean) / std of the normalisation.
        seed: of everything random; the same gives the same network.
        folder: where to keep what was done, to continue after a kill.
        progress: called with the steps that are done, and how many there are; making images from
            noise and training count for themselves.

    Raises:
        UserError: no such repair or layer, or a repair without what it needs: images, or batch
            norm; networks that do not run on the images.
    """
    if name not in REPAIRS:
        raise unknown_name("repair", name, REPAIRS)
    chosen = REPAIRS[name]
    if chosen.needs_images and images is None:
        raise UserError(f"repair '{name}' needs calibration images")
    names = [known for known, _ in original.named_modules() if known]
    for layer in layers:
        if layer not in names:
            raise unknown_name("layer", layer, names)
    layers = {layer: choice for layer, choice in layers.items() if choice.pairs}
    if image_shape is None and images is not None:
        image_shape = (images.shape[1], images.shape[2], images.shape[3])
    frame = None if image_shape is None else Frame(image_shape, bounds)
    job = Job(original, compressed, layers, images, frame, seed, folder, progress)
    return chosen.run(job)
