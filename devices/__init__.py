"""What a network costs on hardware, measured or computed.

A ``Device`` measures a torch module and returns a ``Measurement``: every sample with its unit and
the conditions under which it was taken.
"""

if __name__ != "brpnas.devices":
    raise ImportError("import this package as 'brpnas.devices' (the bare name belongs to others)")

from brpnas.devices.device import Device, Measurement
from brpnas.devices.macs import MacCounter

__all__ = ["Device", "MacCounter", "Measurement"]
