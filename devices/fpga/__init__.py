"""FPGAs: what a network costs on one, computed by fpgaConvNet's model and not measured.

``evaluate_layers`` judges whole tables of layers and foldings; ``read_platform`` says what a board
has room for.
"""

from brpnas.devices.fpga.evaluate import COSTS, evaluate_layers, read_columns
from brpnas.devices.fpga.layers import LAYERS, Costs, Fold, Layer
from brpnas.devices.fpga.logic import FEATURES, card
from brpnas.devices.fpga.platform import Platform, built_in_platforms, read_platform

__all__ = [
    "COSTS",
    "FEATURES",
    "LAYERS",
    "Costs",
    "Fold",
    "Layer",
    "Platform",
    "built_in_platforms",
    "card",
    "evaluate_layers",
    "read_columns",
    "read_platform",
]
