"""The noun Device: something that says what a network costs."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["Device", "Measurement"]


@dataclass(frozen=True)
class Measurement:
    """What a network costs on one device.

    Attributes:
        samples: every value that was taken, in the order of time; one if it was computed.
        unit: of each sample, such as ``"ms"``; less is better.
        conditions: under which the samples were taken, for a person to read.

    Raises:
        ValueError: no sample, or one that is negative or not a finite number. A device that was
            not reached is an error, never a zero.
    """

    samples: tuple[float, ...]
    unit: str
    conditions: str

    def __post_init__(self) -> None:
        if not self.samples:
            raise ValueError("a measurement needs at least one sample")
        for sample in self.samples:
            if not math.isfinite(sample) or sample < 0:
                raise ValueError(f"a sample must be a finite number from 0, not {sample}")

    @property
    def median(self) -> float:
        """The middle of the samples, or the mean of the two in the middle."""
        return float(statistics.median(self.samples))

    @property
    def min(self) -> float:
        """The smallest sample."""
        return float(min(self.samples))


class Device(ABC):
    """Hardware, or a model of it. Add one by writing a subclass."""

    @abstractmethod
    def measure(self, model: nn.Module, example_input: Tensor) -> Measurement:
        """Say what one forward pass of ``model`` on ``example_input`` costs.

        Raises:
            UserError: the device was not reached, or cannot run the model.
        """
