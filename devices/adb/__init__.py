"""Phones over adb: the link to them, TFLite's benchmark program there, and the device."""

from brpnas.devices.adb.phone import Phone
from brpnas.devices.adb.transport import Reply, Transport

__all__ = ["Phone", "Reply", "Transport"]
