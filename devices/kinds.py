"""Kinds of devices that run TFLite models, by the name that profiles say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from brpnas.plugins import Registry

if TYPE_CHECKING:
    from brpnas.devices.litert import LiteRTDevice

__all__ = ["DEVICE_KINDS"]


def _connector(_name: str, found: Any) -> Callable[..., LiteRTDevice]:  # noqa: ANN401 - of a package
    if not callable(found):
        raise TypeError("is neither a class nor a function")
    connector: Callable[..., LiteRTDevice] = found
    return connector


DEVICE_KINDS: Registry[Callable[..., LiteRTDevice]] = Registry(
    "device",
    "brpnas.devices",
    _connector,
    {
        "local": "brpnas.devices.local:LocalDevice",
        "adb": "brpnas.devices.connect:connect_phone",
    },
)
"""What connects to a device: a class or a function that takes the plan, and by name what it asks
for of ``profile``, ``serial`` and ``address``, and returns the connected `LiteRTDevice`."""
