"""An FPGA as a device: what a network costs on it is computed by mapping it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from brpnas.devices.device import Device, Measurement
from brpnas.devices.fpga.foldings import RESOURCES, Words
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.mapping import OPTIMISERS, Design
from brpnas.devices.fpga.network import Network
from brpnas.devices.fpga.platform import Platform, read_platform
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError, unknown_name

__all__ = ["FPGADevice", "Mapper", "is_fpga", "open_fpga"]

_KIND = "fpga"


@dataclass(frozen=True)
class FPGADevice(Device):
    """A board to which networks are mapped, for the least time of one image.

    Nothing runs anywhere: the same network gives the same figures on any machine, without noise.
    Picklable, for workers.

    Attributes:
        platform: the board.
        words: bits of the numbers.
        margin: share of every resource that stays free.
        reference_exact: count as fpgaConvNet's model does where it is odd.
        optimiser: name of what maps, one of OPTIMISERS.

    Raises:
        UserError: an unknown optimiser.
    """

    platform: Platform
    words: Words = field(default_factory=Words)
    margin: float = 0.0
    reference_exact: bool = False
    optimiser: str = "best"

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise unknown_name("optimiser", self.optimiser, OPTIMISERS)

    @property
    def notes(self) -> Mapping[str, str]:
        """What the columns of ``summarise`` mean, by name."""
        notes = {
            "latency_ms": "of one image, with the time to load further parts; computed, not "
            "measured",
            "partitions": "parts of the network, of which the board is loaded with one at a time",
            "interval_cycles": "cycles of the clock from one image to the next, of the slowest "
            "part",
            "dsp": "slices; the most of any part, as are the other resources",
            "bram": "blocks of 18 Kbit; those that the board lacks are built of LUTs, 288 for each",
            "lut": "an estimate, without those",
            "ff": "an estimate",
        }
        return {**notes, "uram": "blocks of 288 Kbit"} if self.platform.resources["URAM"] else notes

    def identity(self) -> Mapping[str, str]:
        """Return what the figures depend on besides the network."""
        board, words = self.platform, self.words
        return {
            "name": f"{_KIND}:{board.name}",
            "board": board.title,
            **{name: f"{count}" for name, count in board.resources.items()},
            "clock_mhz": f"{board.clock_mhz:g}",
            "memory_gbit_per_s": f"{board.memory_gbit_per_s:g}",
            "port_width": f"{board.port_width}",
            "reconfiguration_s": f"{board.reconfiguration_s:g}",
            "words": f"data {words.data}, weights {words.weight}, sums {words.acc} bits"
            + (", block floating point" if words.block_floating_point else ""),
            "margin": f"{self.margin:g}",
            "model": "reference-exact" if self.reference_exact else "physical",
            "optimiser": self.optimiser,
        }

    def map(self, network: Network) -> Design:
        """Return the best design found for the least time of one image.

        Raises:
            UserError: the board has no room for the network; says what is short.
        """
        return OPTIMISERS[self.optimiser]().map(self.problem(network))

    def problem(self, network: Network) -> Problem:
        """Return what is to be mapped: the network, one image at a time."""
        return Problem(
            network,
            self.platform,
            self.words,
            batch=1,
            margin=self.margin,
            reference_exact=self.reference_exact,
        )

    def summarise(self, design: Design) -> dict[str, float]:
        """Reduce a design to the columns of a table.

        Returns:
            ``latency_ms``, ``partitions``, ``interval_cycles``, and what the largest part takes
            of each resource that the board has.
        """
        costs = [part.costs for part in design.parts]
        taken = np.max([cost.resources for cost in costs], axis=0)
        return {
            "latency_ms": design.seconds * 1000,
            "partitions": len(costs),
            "interval_cycles": int(max(cost.interval for cost in costs)),
            **{
                name.lower(): round(amount)
                for name, amount in zip(RESOURCES, taken.tolist(), strict=True)
                if self.platform.resources[name]
            },
        }

    def measure(self, model: nn.Module, example_input: Tensor) -> Measurement:
        """Map a module, in evaluation mode; it is left as it was.

        Args:
            model: any module of layers that ``network_of`` reads; its weights do not matter.
            example_input: gives the size of the image; a batch is read as one image.

        Returns:
            One sample, in ms.

        Raises:
            UserError: the module has a layer that FPGAs have none for, or does not fit.
        """
        design = self.map(network_of(model, example_input, type(model).__name__))
        conditions = {**self.identity(), "partitions": len(design.parts)}
        described = "; ".join(f"{name}: {value}" for name, value in conditions.items())
        return Measurement((design.seconds * 1000,), "ms", f"computed for batch 1; {described}")


@dataclass(frozen=True)
class Mapper:
    """Maps networks, in a worker.

    Attributes:
        device: the board.
    """

    device: FPGADevice

    def __call__(self, read: Callable[[], Network]) -> dict[str, float] | str:
        """Return the columns of a table; or why there are none, which a retry would not change."""
        try:
            return self.device.summarise(self.device.map(read()))
        except UserError as error:
            return str(error)


def is_fpga(name: str) -> bool:
    """Return whether the name of a device, as users type it, means an FPGA."""
    return name.partition(":")[0] == _KIND


def open_fpga(name: str) -> FPGADevice:
    """Return the device of a name.

    Args:
        name: ``fpga:`` and a built-in platform or the path of a TOML file.

    Raises:
        UserError: no such platform, or its file cannot be used.
    """
    kind, _, platform = name.partition(":")
    if kind != _KIND or not platform:
        raise UserError(f"device '{name}': accepted: {_KIND}:PLATFORM, such as {_KIND}:zc706")
    return FPGADevice(read_platform(platform))
