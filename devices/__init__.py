"""What a network costs on hardware, measured or computed.

A ``Device`` measures a torch module and returns a ``Measurement``: every sample with its unit and
the conditions under which it was taken. A ``LiteRTDevice`` times TFLite models, of which a
``Sweep`` measures many.
"""

if __name__ != "brpnas.devices":
    raise ImportError("import this package as 'brpnas.devices' (the bare name belongs to others)")

from brpnas.devices.device import Device, Measurement
from brpnas.devices.litert import DeviceLostError, LiteRTDevice, ModelError
from brpnas.devices.local import LocalDevice
from brpnas.devices.macs import MacCounter
from brpnas.devices.store import Series, Store
from brpnas.devices.sweep import Sweep, SweepResult
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.timing import Round, TimingPlan

__all__ = [
    "Device",
    "DeviceLostError",
    "LiteRTDevice",
    "LocalDevice",
    "MacCounter",
    "Measurement",
    "ModelError",
    "Round",
    "Series",
    "Store",
    "Sweep",
    "SweepResult",
    "TFLiteModel",
    "TimingPlan",
]
