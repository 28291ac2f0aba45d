"""A phone's adb daemon: the protocol, with authentication and faults, over TCP.

Written after AOSP's description of the protocol (packages/modules/adb/protocol.txt, SYNC.TXT).
What the services do on the phone is in ``emulated_phone.py``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brpnas.devices.litert import DeviceLostError

VERSION, MAX_DATA = 0x01000000, 256 * 1024
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
# Of a SHA-1 hash, in PKCS #1 signatures.
_SHA1 = bytes.fromhex("3021300906052b0e03021a05000414")


def public_numbers(offered: bytes) -> tuple[int, int]:
    """Return modulus and exponent of a key in Android's format: 64 words, little end first."""
    raw = base64.b64decode(offered.split(b" ")[0].rstrip(b"\0"))
    words, _, modulus, _, exponent = struct.unpack("<II256s256sI", raw)
    assert words == 64
    return int.from_bytes(modulus, "little"), exponent


def is_signed(key: tuple[int, int], token: bytes, signature: bytes) -> bool:
    modulus, exponent = key
    opened = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(256, "big")
    tail = b"\0" + _SHA1 + token
    return opened == b"\0\1" + b"\xff" * (256 - 2 - len(tail)) + tail


@dataclass
class Faults:
    """What goes wrong; each happens once, unless it is a state."""

    kill_in: str = ""  # the daemon dies while a command with this text runs
    down_s: float = 0.0  # and is away for so long
    cut_push_after: int | None = None  # bytes
    refuse_push: str = ""  # a state: the reason, such as a full disk
    change_push: bool = False  # a byte arrives as another
    silent: bool = False  # a state: takes connections and says nothing


class Stream:
    """One service that is open: what the host sent, and when it may be sent more."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.ours, self.theirs = ours, theirs
        self.incoming = asyncio.StreamReader(limit=2**30)
        self.may_send = asyncio.Event()


@dataclass
class Daemon:
    """The daemon, in a thread of its own.

    Attributes:
        start_shell: starts a command, for the shell service.
        banner: what it says of the phone.
        known: keys that are authorised; None: no authentication.
        accept: whether the user accepts an unknown key on the screen.
    """

    start_shell: Callable[[str], Coroutine[Any, Any, asyncio.subprocess.Process]]
    banner: str = "device::ro.product.name=emulated;ro.product.model=Emulated;"
    known: list[tuple[int, int]] | None = None
    accept: bool = False
    faults: Faults = field(default_factory=Faults)
    port: int = 0
    offered: list[tuple[int, int]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._children: list[asyncio.subprocess.Process] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())

    def _call(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _die(self, down_s: float) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._links):
            link.transport.abort()
        self._loop.call_later(down_s, lambda: self._loop.create_task(self._listen()))

    def reboot(self, down_s: float) -> None:
        """Cut all connections and refuse new ones for a while."""
        self._call(self._die(down_s))

    def close(self) -> None:
        async def stop() -> None:
            if self._server is not None:
                self._server.close()
            for link in list(self._links):
                link.transport.abort()
            for child in self._children:
                kill_session(child.pid)
            for child in self._children:
                await child.wait()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._call(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        ends = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ends):
            await _Session(self, reader, writer).run()
        self._links.discard(writer)
        writer.close()


class _Session:
    """One connection of a host."""

    def __init__(
        self, daemon: Daemon, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.daemon, self.reader, self.writer = daemon, reader, writer
        self.streams: dict[int, Stream] = {}
        self.token = b""
        self.trusted = daemon.known is None
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = int.from_bytes(command, "little")
        head = (number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        self.writer.write(struct.pack("<6I", *head) + data)

    async def run(self) -> None:
        while True:
            head = struct.unpack("<6I", await self.reader.readexactly(24))
            number, first, second, size, _, magic = head
            assert magic == number ^ 0xFFFFFFFF
            data = await self.reader.readexactly(size)
            if self.daemon.faults.silent:
                continue
            await self.packet(number.to_bytes(4, "little"), first, second, data)

    async def packet(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN":
            self.greet() if self.trusted else self.challenge()
        elif command == b"AUTH":
            self.authorise(first, data)
        elif not self.trusted:
            self.writer.close()
        elif command == b"OPEN":
            self.open(first, data.rstrip(b"\0").decode())
        elif stream := self.streams.get(second):
            if command == b"WRTE":
                stream.incoming.feed_data(data)
                self.send(b"OKAY", stream.ours, stream.theirs)
            elif command == b"OKAY":
                stream.may_send.set()
            elif command == b"CLSE":
                stream.incoming.feed_eof()
                stream.may_send.set()
                self.close(stream)

    def greet(self) -> None:
        self.trusted = True
        self.send(b"CNXN", VERSION, MAX_DATA, self.daemon.banner.encode() + b"\0")

    def challenge(self) -> None:
        self.token = secrets.token_bytes(20)
        self.send(b"AUTH", TOKEN, 0, self.token)

    def authorise(self, kind: int, data: bytes) -> None:
        daemon = self.daemon
        assert daemon.known is not None
        if kind == SIGNATURE:
            signed = any(is_signed(key, self.token, data) for key in daemon.known)
            self.greet() if signed else self.challenge()
        elif kind == PUBLIC_KEY:
            key = public_numbers(data)
            daemon.offered.append(key)
            if daemon.accept:  # otherwise the question stays on the screen
                daemon.known.append(key)
                self.greet()

    def open(self, theirs: int, service: str) -> None:
        stream = Stream(theirs + 1000, theirs)
        self.daemon.log.append(service)
        name, _, rest = service.partition(":")
        if name == "shell" and rest:
            work = self.shell(stream, rest)
        elif name == "sync":
            work = self.sync(stream)
        else:
            self.send(b"CLSE", 0, theirs)
            return
        self.streams[stream.ours] = stream
        self.send(b"OKAY", stream.ours, theirs)
        task = asyncio.ensure_future(self.service(stream, work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def service(self, stream: Stream, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await work
            self.close(stream)

    def close(self, stream: Stream) -> None:
        """Say that a service has ended; the second of both sides to say so hears nothing more."""
        if self.streams.pop(stream.ours, None):
            self.send(b"CLSE", stream.ours, stream.theirs)

    async def write(self, stream: Stream, data: bytes) -> None:
        stream.may_send.clear()
        self.send(b"WRTE", stream.ours, stream.theirs, data)
        await stream.may_send.wait()

    async def shell(self, stream: Stream, command: str) -> None:
        faults = self.daemon.faults
        child = await self.daemon.start_shell(command)
        self.daemon._children.append(child)
        assert child.stdout is not None
        if faults.kill_in and faults.kill_in in command:
            faults.kill_in = ""
            await asyncio.sleep(0.05)
            await self.daemon._die(faults.down_s)
            return
        while data := await child.stdout.read(MAX_DATA):
            await self.write(stream, data)
        await child.wait()

    async def sync(self, stream: Stream) -> None:
        while True:
            head = await stream.incoming.readexactly(8)
            request, size = head[:4], int.from_bytes(head[4:], "little")
            if request == b"QUIT":
                return
            text = (await stream.incoming.readexactly(size)).decode()
            if request == b"STAT":
                status = Path(text).stat() if Path(text).exists() else None
                facts = (0, 0, 0)
                if status:
                    facts = (status.st_mode, status.st_size, int(status.st_mtime))
                await self.write(stream, b"STAT" + struct.pack("<3I", *facts))
            elif request == b"SEND":
                await self.receive(stream, text)
            elif request == b"RECV":
                await self.deliver(stream, Path(text))
            else:
                raise ConnectionError(f"unknown request {request!r}")

    async def receive(self, stream: Stream, target: str) -> None:
        path, _, mode = target.rpartition(",")
        faults, content, reason = self.daemon.faults, bytearray(), self.daemon.faults.refuse_push
        while True:
            head = await stream.incoming.readexactly(8)
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"DONE":
                break
            content += await stream.incoming.readexactly(size)
            if faults.cut_push_after is not None and len(content) > faults.cut_push_after:
                faults.cut_push_after = None
                Path(path).write_bytes(content)  # what came stays there
                await self.daemon._die(faults.down_s)
                raise ConnectionError("cut")
        if faults.change_push:
            faults.change_push = False
            content[len(content) // 2] ^= 1
        try:
            if not reason:
                Path(path).write_bytes(content)
                Path(path).chmod(int(mode) & 0o777)
        except OSError as error:
            reason = f"couldn't create file: {error.strerror}"
        if reason:
            await self.write(stream, b"FAIL" + struct.pack("<I", len(reason)) + reason.encode())
        else:
            await self.write(stream, b"OKAY" + struct.pack("<I", 0))

    async def deliver(self, stream: Stream, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = f"open failed: {error.strerror}".encode()
            await self.write(stream, b"FAIL" + struct.pack("<I", len(reason)) + reason)
            return
        for start in range(0, len(content), 64 * 1024):
            chunk = content[start : start + 64 * 1024]
            await self.write(stream, b"DATA" + struct.pack("<I", len(chunk)) + chunk)
        await self.write(stream, b"DONE" + struct.pack("<I", 0))


def kill_session(number: int) -> None:
    """Kill what is left of a session; ``timeout`` gives its command a process group of its own."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[3]) == number:
                os.kill(int(path.parent.name), signal.SIGKILL)


def wait_for_link(reconnect: Callable[[], None], seconds: float = 5.0) -> None:
    """Reconnect until the phone is there again."""

    def is_back() -> bool:
        try:
            reconnect()
        except DeviceLostError:
            return False
        return True

    wait_for(is_back, seconds)


def wait_for(what: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
