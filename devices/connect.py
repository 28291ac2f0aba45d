"""From a profile to a connected device."""

from __future__ import annotations

import re
from collections.abc import Callable

from brpnas.devices.adb.phone import Phone
from brpnas.devices.adb.transport import Transport
from brpnas.devices.litert import DeviceLostError, LiteRTDevice
from brpnas.devices.local import LocalDevice
from brpnas.devices.profile import AdbSettings, Profile
from brpnas.devices.timing import TimingPlan
from brpnas.errors import UserError, extra_hint

__all__ = ["DEVICE_KINDS", "connect", "open_transport"]

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
        UserError: it was not reached, or cannot do what the plan asks for; says what to do.
    """
    profile.check(plan)  # before a phone is asked
    return DEVICE_KINDS[profile.kind](profile, plan, serial, address)


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


def _connect_local(
    profile: Profile,  # noqa: ARG001 - says no more than that it is this machine
    plan: TimingPlan,
    serial: str | None,
    address: str | None,
) -> LiteRTDevice:
    if serial is not None or address is not None:
        raise UserError(
            "--serial and --address name a phone; this device is the machine itself. For phones: "
            "--device adb"
        )
    return LocalDevice(plan)


def _connect_adb(
    profile: Profile, plan: TimingPlan, serial: str | None, address: str | None
) -> LiteRTDevice:
    transport = open_transport(profile.adb or AdbSettings(), serial, address)
    try:
        return Phone(transport, profile, plan)
    except BaseException:
        transport.close()
        raise


DEVICE_KINDS: dict[str, Callable[[Profile, TimingPlan, str | None, str | None], LiteRTDevice]] = {
    "local": _connect_local,
    "adb": _connect_adb,
}
"""What connects to a device, by the kind that its profile says."""
