"""Mapping networks to boards: which layers are on it together, and the folding of each.

An ``Optimiser`` turns a ``Problem`` into a ``Design``; ``OPTIMISERS`` has them by name.
"""

from collections.abc import Callable

from brpnas.devices.fpga.mapping.annealing import Annealing
from brpnas.devices.fpga.mapping.best import Best
from brpnas.devices.fpga.mapping.brute import Brute
from brpnas.devices.fpga.mapping.design import Design, Optimiser, Part
from brpnas.devices.fpga.mapping.rule import Rule

__all__ = ["OPTIMISERS", "Annealing", "Best", "Brute", "Design", "Optimiser", "Part", "Rule"]

OPTIMISERS: dict[str, Callable[[], Optimiser]] = {
    "best": Best,
    "rule": Rule,
    "annealing": Annealing,
    "brute": Brute,
}
