"""The small network whose time tells how fast a machine is now.

It is kept as a file, for machines without what writes models. To write that anew::

    python -c "from brpnas.devices.reference import *; REFERENCE.write_bytes(make_reference())"
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from brpnas.devices.tflite.convert import convert

__all__ = ["REFERENCE", "make_reference"]

REFERENCE = Path(__file__).with_name("reference.tflite")


def make_reference() -> bytes:
    """Write four convolutions with weights that are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(16, 16, 3, padding=1) for _ in range(4)]
    module = nn.Sequential(*layers).eval()
    return convert(module, torch.zeros(1, 16, 32, 32), "reference").content
