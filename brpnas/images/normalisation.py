"""What a network expects to be done to pixels: subtract a mean, divide by a deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from brpnas.errors import UserError

__all__ = ["CIFAR10", "IMAGENET", "Normalisation", "parse_normalisation"]


@dataclass(frozen=True)
class Normalisation:
    """Turns pixels p in 0 .. 1 into (p - mean) / std, channel by channel.

    Attributes:
        mean: one number for each channel.
        std: likewise.

    Raises:
        UserError: not as many means as deviations, or a number that cannot be one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = [*self.mean, *self.std]
        if (
            not self.mean
            or len(self.mean) != len(self.std)
            or not all(map(math.isfinite, numbers))
            or min(self.std) <= 0
        ):
            raise UserError(
                f"normalisation '{self}': as many finite means as positive deviations are accepted"
            )

    def __str__(self) -> str:
        return "/".join(",".join(f"{one:.6g}" for one in part) for part in (self.mean, self.std))


CIFAR10 = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

_NAMED = {"cifar10": CIFAR10, "imagenet": IMAGENET}


def parse_normalisation(text: str) -> Normalisation | None:
    """Read a normalisation as users write it.

    Args:
        text: ``imagenet``, ``cifar10``, ``none`` (images are floats that are fed as they are) or
            numbers for pixels in 0 .. 1: ``0.5,0.5,0.5/0.25,0.25,0.25``, means before deviations.

    Raises:
        UserError: neither.
    """
    if text == "none":
        return None
    if text in _NAMED:
        return _NAMED[text]
    try:
        mean, std = (tuple(map(float, part.split(","))) for part in text.split("/"))
    except ValueError:
        raise UserError(
            f"normalisation '{text}': accepted are none, {', '.join(_NAMED)}, or means and "
            "deviations for pixels in 0 .. 1, such as 0.5,0.5,0.5/0.25,0.25,0.25"
        ) from None
    return Normalisation(mean, std)
