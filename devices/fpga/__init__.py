"""FPGAs: what a network costs on one, computed by fpgaConvNet's model and not measured.

``evaluate_layers`` judges whole tables of layers and foldings; ``read_platform`` says what a board
has room for.
"""

from brpnas.devices.fpga.device import FPGADevice
from brpnas.devices.fpga.evaluate import COSTS, evaluate_layers, read_columns
from brpnas.devices.fpga.from_onnx import read_onnx as read_network
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.layers import LAYERS, Costs, Fold, Layer
from brpnas.devices.fpga.logic import FEATURES, card
from brpnas.devices.fpga.network import INPUT, Network, Node
from brpnas.devices.fpga.platform import Platform, built_in_platforms, read_platform

__all__ = [
    "COSTS",
    "FEATURES",
    "INPUT",
    "LAYERS",
    "Costs",
    "FPGADevice",
    "Fold",
    "Layer",
    "Network",
    "Node",
    "Platform",
    "built_in_platforms",
    "card",
    "evaluate_layers",
    "network_of",
    "read_columns",
    "read_network",
    "read_platform",
]
