"""Phones through an adb server: those on USB, on the network, or paired over Wi-Fi."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import time
from typing import Any

import adbutils

from brpnas.devices.adb.transport import PushRefused, Transport
from brpnas.errors import UserError, one_line

__all__ = ["ServerTransport"]

_CONNECT_S = 10.0
_CHUNK = 64 * 1024

# By the first word of a state: the library splits "no permissions".
_NOT_READY = {
    "unauthorized": "has not authorised this machine: unlock it and accept 'Allow USB debugging?' "
    "on its screen, then repeat the command",
    "offline": "is offline: unplug it, or run 'adb reconnect offline', then repeat the command",
    "no": "may not be used by you: install the udev rules for Android phones (package "
    "android-sdk-platform-tools-common)",
}


class ServerTransport(Transport):
    """A phone that an adb server knows; the server is started if none runs.

    The server's port is that of the environment's ``ANDROID_ADB_SERVER_PORT``, as for ``adb``.

    Args:
        serial: of the phone; may be left out where the server knows one.
        address: ``HOST:PORT`` that the server is told to connect to.

    Raises:
        UserError: no phone, several phones, one that is not ready, or no server.
    """

    def __init__(self, serial: str | None = None, address: str | None = None) -> None:
        self._address = address
        port = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
        if not port.isdigit():
            raise UserError(f"ANDROID_ADB_SERVER_PORT is '{port}'; accepted: a number")
        self._client = adbutils.AdbClient("127.0.0.1", int(port))
        super().__init__(serial or address or self._only_phone())
        self._device: Any = None

    def _only_phone(self) -> str:
        found = sorted(self._states())
        if len(found) > 1:
            raise UserError(
                f"several phones are connected: {', '.join(found)}; choose one with --serial"
            )
        if not found:
            raise UserError(
                "no phone is connected: plug one in and switch on USB debugging in its developer "
                "options, or pair it over Wi-Fi with 'adb pair HOST:PORT'"
            )
        return found[0]

    def _states(self) -> dict[str, str]:
        try:
            return {info.serial: info.state for info in self._client.list()}
        except (adbutils.AdbError, OSError, subprocess.SubprocessError) as error:
            raise UserError(
                f"the adb server does not answer ({one_line(error)}); run 'adb start-server'"
            ) from None

    def _connect(self) -> None:
        self._close()
        if self._address is not None:
            # A phone that restarted leaves a dead entry behind, which would be kept.
            if self._states().get(self._address) == "offline":
                self._client.disconnect(self._address)
            self._client.connect(self._address, timeout=_CONNECT_S)
        state = self._states().get(self.label)
        if state is None:
            raise ConnectionError("the adb server does not know it")
        for bad, meaning in _NOT_READY.items():
            if state == bad:
                if bad == "offline":
                    raise ConnectionError(meaning)
                raise UserError(f"phone {self.label} {meaning}")
        if state != "device":
            raise ConnectionError(f"it is not running: {state}")
        self._device = self._client.device(serial=self.label)

    def _close(self) -> None:
        self._device = None  # every service opens a connection of its own

    def _run(self, line: str, timeout_s: float) -> str:
        with self._service(f"shell:{line}", timeout_s) as link:
            return str(link.read_until_close())

    def _put(self, content: bytes, remote: str, mode: int, timeout_s: float) -> None:
        # The library's own push waits for ever when the link is cut, and drops the phone's reason.
        with self._service("sync:", min(timeout_s, _CONNECT_S)) as link:
            target = f"{remote},{stat.S_IFREG | mode}".encode()
            link.conn.sendall(b"SEND" + struct.pack("<I", len(target)) + target)
            for start in range(0, len(content), _CHUNK):
                chunk = content[start : start + _CHUNK]
                link.conn.sendall(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
            link.conn.sendall(b"DONE" + struct.pack("<I", int(time.time())))
            answer, size = struct.unpack("<4sI", link.read_exact(8))
            if answer != b"OKAY":
                reason = link.read_exact(size).decode(errors="replace")
                raise PushRefused(f"phone {self.label}: {remote}: {one_line(reason)}")

    def _service(self, name: str, timeout_s: float) -> Any:  # noqa: ANN401 - no types for it
        link = self._device.open_transport(timeout=_CONNECT_S)
        try:
            link.conn.settimeout(timeout_s)
            link.send_command(name)
            link.check_okay()
        except Exception:
            link.close()
            raise
        return link
