"""From a profile to a connected device."""

from __future__ import annotations

import inspect
import re

from brpnas.devices.adb.phone import Phone
from brpnas.devices.adb.transport import Transport
from brpnas.devices.kinds import DEVICE_KINDS
from brpnas.devices.litert import DeviceLostError, LiteRTDevice
from brpnas.devices.profile import AdbSettings, Profile
from brpnas.devices.timing import TimingPlan
from brpnas.errors import UserError, extra_hint
from brpnas.plugins import call_with

__all__ = ["connect", "connect_phone", "open_transport"]

_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([\w.-]+))(?::(\d{1,5}))?")
_ADB_PORT = "5555"


def connect(
    profile: Profile, plan: TimingPlan, *, serial: str | None = None, address: str | None = None
) -> LiteRTDevice:
    """Connect to a device.

    Args:
        profile: of the device.
        plan: how models are timed.
        serial: of the phone, in place of the profile's.
        address: ``HOST:PORT`` of the phone, in place of the profile's.

    Raises:
        UserError: it was not reached, or cannot do what the plan asks for; says what to do. Or
            the package that offers its kind is broken.
    """
    profile.check(plan)  # before a phone is asked
    make = DEVICE_KINDS[profile.kind]
    for name, value in (("serial", serial), ("address", address)):
        if value is not None and name not in inspect.signature(make).parameters:
            raise UserError(
                f"--{name} goes with devices that have one, which device '{profile.name}' has not. "
                "For phones: --device adb"
            )
    device = call_with(make, plan, profile=profile, serial=serial, address=address)
    if not isinstance(device, LiteRTDevice):
        raise UserError(
            f"device '{profile.kind}' of package {DEVICE_KINDS.package(profile.kind)} is not "
            f"usable: it is a {type(device).__name__}, not a brpnas.devices.LiteRTDevice"
        )
    return device


def open_transport(settings: AdbSettings, serial: str | None, address: str | None) -> Transport:
    """Connect a link to a phone.

    Args:
        settings: of its profile.
        serial: in place of the profile's.
        address: in place of the profile's.

    Raises:
        UserError: it was not reached, or the user has to do something first.
    """
    if serial is not None and address is not None:
        raise UserError("--serial and --address are both given; one of them names the phone")
    if serial is None and address is None:
        serial, address = settings.serial, settings.address
    at = _parse_address(address) if address is not None else None
    transport = _through_server if settings.transport == "adbutils" else _direct
    link = transport(serial, at)
    try:
        link.reconnect()
    except DeviceLostError as error:
        raise UserError(
            f"{error}; see that it is switched on and that its developer options allow debugging "
            "over USB (or Wi-Fi), then try again"
        ) from None
    return link


def _direct(serial: str | None, address: tuple[str, int] | None) -> Transport:
    try:
        from brpnas.devices.adb.direct import TcpTransport, UsbTransport
    except ImportError as error:
        raise UserError(
            f"phones need adb-shell, which cannot be loaded ({error}): {extra_hint('measure')}"
        ) from None
    return UsbTransport(serial) if address is None else TcpTransport(*address)


def _through_server(serial: str | None, address: tuple[str, int] | None) -> Transport:
    try:
        from brpnas.devices.adb.server import ServerTransport
    except ImportError as error:
        raise UserError(
            f'transport = "adbutils" needs adbutils, which cannot be loaded ({error}): '
            f"{extra_hint('adbutils')}"
        ) from None
    return ServerTransport(serial, None if address is None else f"{address[0]}:{address[1]}")


def _parse_address(text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3] or 1) > 65535:
        raise UserError(f"address '{text}' is not HOST:PORT, such as 192.168.1.7:{_ADB_PORT}")
    return match[1] or match[2], int(match[3] or _ADB_PORT)


def connect_phone(
    plan: TimingPlan, profile: Profile, serial: str | None = None, address: str | None = None
) -> Phone:
    """Connect to a phone.

    Args:
        plan: how models are timed.
        profile: of the phone.
        serial: in place of the profile's.
        address: in place of the profile's.

    Raises:
        UserError: it was not reached, or cannot do what the plan asks for; says what to do.
    """
    transport = open_transport(profile.adb or AdbSettings(), serial, address)
    try:
        return Phone(transport, profile, plan)
    except BaseException:
        transport.close()
        raise
