"""Mapping networks to boards: which layers are on it together, and the folding of each.

An ``Optimiser`` turns a ``Problem`` into a ``Design``; ``OPTIMISERS`` has them by name.
"""

from collections.abc import Callable

from brpnas.devices.fpga.mapping.best import Best
from brpnas.devices.fpga.mapping.design import Design, Optimiser, Part

__all__ = ["OPTIMISERS", "Best", "Design", "Optimiser", "Part"]

OPTIMISERS: dict[str, Callable[[], Optimiser]] = {"best": Best}
