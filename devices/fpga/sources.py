"""Recipes for networks: small values that travel to a worker process and read the network there."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from brpnas.devices.digest import digest
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.network import Network
from brpnas.devices.tflite.sources import FunctionModel
from brpnas.errors import UserError
from brpnas.spaces import NetworkShape, Space

__all__ = ["NetworkSource", "ReadNetwork", "SpaceNetwork", "read_network"]


class NetworkSource(Protocol):
    """Reads a network when it is called; picklable."""

    @property
    def name(self) -> str:
        """What tables and errors call the network."""

    @property
    def key(self) -> str:
        """Hash of all that the network depends on, and this program's version, in hexadecimal."""

    def __call__(self) -> Network:
        """Read the network.

        Raises:
            UserError: it has a layer for which FPGAs have none.
        """


@dataclass(frozen=True)
class SpaceNetwork:
    """A network of a space.

    Attributes:
        space: knows how to build it.
        arch: the architecture's text.
        shape: widths, depths and image size.
    """

    space: Space[Any]
    arch: str
    shape: NetworkShape = NetworkShape()  # noqa: RUF009 - frozen

    @property
    def name(self) -> str:
        """The architecture's text."""
        return self.arch

    @property
    def key(self) -> str:
        """Hash of architecture, shape and this program's version."""
        return digest(self.space.name, self.arch, vars(self.shape))

    def __call__(self) -> Network:
        """Build the network, without weights, and read it."""
        shape = self.shape
        with torch.device("meta"):
            module = self.space.build(self.space.parse(self.arch), shape)
            channels = shape.input_channels * shape.replicas
            example = torch.zeros(1, channels, shape.input_size, shape.input_size)
        return network_of(module, example, self.name)


@dataclass(frozen=True)
class ReadNetwork:
    """A network that has been read already.

    Attributes:
        name: what tables call it.
        network: the layers.
    """

    name: str
    network: Network

    @property
    def key(self) -> str:
        """Hash of the layers, whose weights do not matter, and this program's version."""
        layers = [
            [node.name, node.kind, sorted(node.sizes.items()), node.inputs, node.output]
            for node in self.network.nodes
        ]
        return digest(self.network.input, layers)

    def __call__(self) -> Network:
        """Return the network."""
        return self.network


def read_network(model: str) -> Network:
    """Read a network that a user names.

    Args:
        model: an ``.onnx`` file, or ``package.module:function``, which returns a torch module and
            its example input.

    Raises:
        UserError: neither of them, or it cannot be read.
    """
    path = Path(model)
    if path.suffix.lower() == ".onnx":
        return read_onnx(path)
    if ":" not in model:
        raise UserError(
            f"--model {model}: unknown kind; accepted for FPGAs: an .onnx file, "
            "package.module:function"
        )
    module, inputs = FunctionModel(model).call()
    if len(inputs) != 1:
        raise UserError(f"model '{model}' has {len(inputs)} inputs; accepted for FPGAs: one")
    with contextlib.redirect_stdout(sys.stderr):  # what the module prints
        return network_of(module, inputs[0], model)
