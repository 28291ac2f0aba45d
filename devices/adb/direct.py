"""Phones without an adb server: adb-shell talks to the phone itself, over TCP or USB."""

from __future__ import annotations

import io
import select
import socket
import stat
import time
from typing import Any

from adb_shell import exceptions
from adb_shell.adb_device import AdbDevice
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.transport.base_transport import BaseTransport

from brpnas.devices.adb.keys import find_key
from brpnas.devices.adb.transport import PushRefused, Transport
from brpnas.errors import UserError, one_line

__all__ = ["TcpTransport", "UsbTransport"]

_CONNECT_S = 10.0
_PORT = 5555


class _Direct(Transport):
    """What TCP and USB have in common.

    Args:
        label: what errors call the phone.
        authorise_s: how long the user has to accept this machine's key on the phone.
    """

    def __init__(self, label: str, authorise_s: float) -> None:
        super().__init__(label)
        self._authorise_s = authorise_s
        self._device: Any = None

    def _link(self) -> Any:  # noqa: ANN401 - the library comes without types
        """Return the library's link to the phone, not connected."""
        raise NotImplementedError

    def _connect(self) -> None:
        self._close()
        signer = PythonRSASigner.FromRSAKeyPath(str(find_key()))
        asked: list[object] = []
        self._device = AdbDevice(self._link(), _CONNECT_S, banner="brpnas")
        try:
            self._device.connect(
                rsa_keys=[signer],
                transport_timeout_s=_CONNECT_S,
                read_timeout_s=_CONNECT_S,
                auth_timeout_s=self._authorise_s,
                auth_callback=asked.append,
            )
        except Exception:
            self._close()
            if asked:  # the phone did not know the key, and did not accept it either
                raise UserError(
                    f"phone {self.label} has not authorised this machine: unlock it, accept "
                    "'Allow USB debugging?' on its screen (always, for this computer), then "
                    "repeat the command"
                ) from None
            raise

    def _close(self) -> None:
        if self._device is not None:
            self._device.close()
            self._device = None

    def _run(self, line: str, timeout_s: float) -> str:
        # Without all three, the library gives up after 10 silent seconds, or waits for ever.
        output = self._device.shell(
            line, transport_timeout_s=timeout_s, read_timeout_s=timeout_s, timeout_s=timeout_s
        )
        return str(output)

    def _put(self, content: bytes, remote: str, mode: int, timeout_s: float) -> None:
        # Of each step: a phone that takes nothing more for this long has gone. What one reads as
        # 0 would be replaced by the time now.
        step_s = min(timeout_s, _CONNECT_S)
        try:
            self._device.push(
                io.BytesIO(content),
                remote,
                st_mode=stat.S_IFREG | mode,
                mtime=int(time.time()),
                transport_timeout_s=step_s,
                read_timeout_s=step_s,
            )
        except (exceptions.PushFailedError, exceptions.AdbCommandFailureException) as error:
            reason = error.args[0] if error.args else error
            if isinstance(reason, bytes | bytearray):
                reason = reason.decode(errors="replace")
            raise PushRefused(f"phone {self.label}: {remote}: {one_line(reason)}") from None


class TcpTransport(_Direct):
    """A phone on the network.

    Args:
        host: its name or number.
        port: of adbd.
        authorise_s: how long the user has to accept this machine's key on the phone.
    """

    def __init__(self, host: str, port: int = _PORT, authorise_s: float = 20.0) -> None:
        super().__init__(f"{host}:{port}", authorise_s)
        self._at = (host, port)

    def _link(self) -> BaseTransport:
        return _Socket(self._at)


class UsbTransport(_Direct):
    """A phone on a USB port.

    Args:
        serial: of the phone; may be left out where one is connected.
        authorise_s: how long the user has to accept this machine's key on the phone.

    Raises:
        UserError: no libusb, no phone, several phones, or one that an adb server holds.
    """

    def __init__(self, serial: str | None = None, authorise_s: float = 20.0) -> None:
        found = _usb_phones()
        if serial is None:
            if len(found) > 1:
                raise UserError(
                    f"several phones are connected: {', '.join(sorted(found))}; choose one with "
                    "--serial"
                )
            serial = next(iter(found), None)
        if serial is None or serial not in found:
            missing = "no phone" if serial is None else f"no phone with serial {serial}"
            others = f"; connected: {', '.join(sorted(found))}" if found else ""
            raise UserError(
                f"{missing} on USB{others}; connect it and switch on USB debugging in its "
                "developer options, or name one on the network with --address HOST:PORT"
            )
        super().__init__(serial, authorise_s)

    def _link(self) -> Any:  # noqa: ANN401 - the library comes without types
        found = _usb_phones()
        if self.label not in found:
            raise ConnectionError("it is not on USB")
        return found[self.label]

    def _connect(self) -> None:
        try:
            super()._connect()
        except UserError:
            raise
        except Exception as error:
            if (reason := _port_is_not_free(f"phone {self.label}", error)) is None:
                raise
            raise reason from None


def _usb_phones() -> dict[str, Any]:
    """Return the links of all phones on USB, by serial."""
    try:
        from adb_shell.transport.usb_transport import UsbTransport as Link
    except (ImportError, OSError):
        raise UserError(
            "phones on USB need libusb: pip install 'adb-shell[usb]'; or name a phone on the "
            'network with --address HOST:PORT, or write transport = "adbutils" under [adb] in the '
            "profile"
        ) from None
    found, refused = {}, None
    for link in Link.find_all_adb_devices():
        try:
            found[str(link.serial_number)] = link  # opens the port
        except Exception as error:  # noqa: BLE001 - another phone's port may be free
            refused = error
    if refused is not None and not found:
        raise _port_is_not_free("a phone", refused) or refused
    return found


def _port_is_not_free(phone: str, error: Exception) -> UserError | None:
    """Say what to do about an error of libusb, if it is one of these."""
    name = type(error).__name__  # libusb names its errors by class: USBErrorBusy, USBErrorAccess
    if "Busy" in name:
        return UserError(
            f"{phone} is held by an adb server: stop it with 'adb kill-server', or write "
            'transport = "adbutils" under [adb] in the profile'
        )
    if "Access" in name:
        return UserError(
            f"{phone} is on USB, but there is no permission to use its port: install the udev "
            "rules for Android phones (package android-sdk-platform-tools-common)"
        )
    return None


class _Socket(BaseTransport):  # type: ignore[misc]  # the library comes without types
    """A TCP connection; the library's own waits 40 ms per command, loses bytes, and spins.

    It leaves small packets to be gathered, takes a short write for a whole one, and reads for 10
    seconds from a connection that the phone has closed.
    """

    def __init__(self, at: tuple[str, int]) -> None:
        self._at = at
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def connect(self, transport_timeout_s: float | None) -> None:
        self._socket = socket.create_connection(self._at, timeout=transport_timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A phone that vanished without a word is noticed in a long silent command too.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        connection = self._open()
        readable, _, _ = select.select([connection], [], [], transport_timeout_s)
        if not readable:
            raise TimeoutError(f"nothing came in {transport_timeout_s:.0f} s")
        data = connection.recv(numbytes)
        if not data:
            raise ConnectionError("the phone closed the connection")
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        connection = self._open()
        connection.settimeout(transport_timeout_s)
        connection.sendall(data)
        return len(data)

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("not connected")
        return self._socket
