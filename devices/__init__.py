"""What a network costs on hardware, measured or computed.

A ``Device`` measures a torch module and returns a ``Measurement``: every sample with its unit and
the conditions under which it was taken. A ``LiteRTDevice`` times TFLite models, of which
``sweep`` measures many.
"""

if __name__ != "brpnas.devices":
    raise ImportError("import this package as 'brpnas.devices' (the bare name belongs to others)")

from brpnas.devices.device import Device, Measurement
from brpnas.devices.litert import DeviceLostError, LiteRTDevice, ModelError
from brpnas.devices.local import LocalDevice
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.timing import Round, TimingPlan

__all__ = [
    "Device",
    "DeviceLostError",
    "LiteRTDevice",
    "LocalDevice",
    "Measurement",
    "ModelError",
    "Round",
    "TFLiteModel",
    "TimingPlan",
]
