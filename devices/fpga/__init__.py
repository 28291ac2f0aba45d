"""FPGAs: what a network costs on one, computed by fpgaConvNet's model and not measured.

``evaluate_layers`` judges whole tables of layers and foldings; ``read_platform`` says what a board
has room for.
"""

from brpnas.devices.fpga.device import FPGADevice
from brpnas.devices.fpga.evaluate import COSTS, evaluate_layers, read_columns
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.layers import LAYERS
from brpnas.devices.fpga.logic import FEATURES
from brpnas.devices.fpga.platform import built_in_platforms, read_platform

__all__ = [
    "COSTS",
    "FEATURES",
    "LAYERS",
    "FPGADevice",
    "built_in_platforms",
    "evaluate_layers",
    "network_of",
    "read_columns",
    "read_platform",
]
