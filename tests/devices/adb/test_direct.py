"""The link itself: through adb-shell, to the emulated phone."""

from __future__ import annotations

import hashlib
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from emulated_phone import EmulatedPhone
from emulator import wait_for, wait_for_link

from brpnas.devices.adb import direct
from brpnas.devices.adb.direct import TcpTransport, UsbTransport
from brpnas.devices.adb.transport import PushRefused
from brpnas.devices.litert import DeviceLostError
from brpnas.errors import UserError

HOSTILE = ["$(touch pwned)", "`touch pwned`", "; touch pwned", "'\"; touch pwned #", "a\nb", "*"]


def connect(emulated: EmulatedPhone) -> TcpTransport:
    link = TcpTransport("127.0.0.1", emulated.daemon.port, authorise_s=0.3)
    link.reconnect()
    return link


def test_words_stay_words(transport: TcpTransport, emulated: EmulatedPhone) -> None:
    reply = transport.shell(["printf", "<%s>", *HOSTILE], 5)
    assert (reply.code, reply.text) == (0, "".join(f"<{word}>" for word in HOSTILE))
    script = transport.script('printf "<%s>" "$@"', HOSTILE)
    assert script.text == reply.text
    assert not list(emulated.root.rglob("pwned"))


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["true"], 0, ""),
        (["sh", "-c", "echo out; echo err >&2; exit 3"], 3, "out\nerr\n"),
        (["no_such_program"], 127, "no_such_program"),
        (["printf", "__rc=0\n__rc_=1"], 0, "__rc=0\n__rc_=1"),
    ],
)
def test_exit_status_and_output(
    transport: TcpTransport, words: list[str], code: int, text: str
) -> None:
    reply = transport.shell(words, 5)
    assert reply.code == code
    assert text in reply.text
    assert not reply.timed_out


def test_a_hung_command_is_killed_on_the_phone(
    transport: TcpTransport, emulated: EmulatedPhone
) -> None:
    began = time.monotonic()
    reply = transport.shell(["sh", "-c", 'echo "$$" >pid; echo begun; sleep 60'], 1)
    assert reply.timed_out
    assert reply.text.startswith("begun\n")  # mksh adds "Terminated"
    assert time.monotonic() - began < 30  # of 60
    number = (emulated.root / "pid").read_text().strip()
    wait_for(lambda: not Path(f"/proc/{number}").exists())
    assert transport.shell(["echo", "on"], 5).text == "on\n"


def test_large_output_arrives_whole(transport: TcpTransport) -> None:
    reply = transport.script("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done")
    assert reply.text.split() == [str(number) for number in range(20000)]


@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_001])
def test_push_verified(transport: TcpTransport, tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    remote = tmp_path / "a file's name"
    transport.push_verified(content, str(remote), 0o755)
    assert hashlib.sha256(remote.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert remote.stat().st_mode & 0o777 == 0o755
    assert not list(tmp_path.glob("*.part"))


def test_a_push_that_arrives_changed_gets_no_name(
    transport: TcpTransport, emulated: EmulatedPhone, tmp_path: Path
) -> None:
    emulated.faults.change_push = True
    with pytest.raises(DeviceLostError, match="arrived changed"):  # the link's fault
        transport.push_verified(b"x" * 100, str(tmp_path / "file"))
    assert not (tmp_path / "file").exists()
    assert not list(tmp_path.glob("*.part"))


def test_the_phones_reason_for_refusing_a_push(
    transport: TcpTransport, emulated: EmulatedPhone, tmp_path: Path
) -> None:
    emulated.faults.refuse_push = "write failed: No space left on device"
    with pytest.raises(PushRefused, match="No space left on device"):
        transport.push(b"x" * 100_000, str(tmp_path / "file"))
    with pytest.raises(PushRefused, match=r"couldn't create file|No space"):
        transport.push(b"x", "/no/such/folder/file")
    assert transport.shell(["echo", "on"], 5).text == "on\n"  # an answer in order breaks no link


def test_a_link_cut_in_mid_push(
    transport: TcpTransport, emulated: EmulatedPhone, tmp_path: Path
) -> None:
    emulated.faults.cut_push_after = 500_000
    with pytest.raises(DeviceLostError, match="link cut in a push"):
        transport.push_verified(bytes(5_000_000), str(tmp_path / "file"))
    with pytest.raises(DeviceLostError, match="reconnect first"):
        transport.shell(["true"], 5)
    wait_for_link(transport.reconnect)
    assert not (tmp_path / "file").exists()
    transport.push_verified(bytes(5_000_000), str(tmp_path / "file"))
    assert (tmp_path / "file").stat().st_size == 5_000_000


def test_a_command_that_was_interrupted_breaks_the_link(transport: TcpTransport) -> None:
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            transport.script("sleep 20")
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(DeviceLostError, match="interrupted; reconnect first"):
        transport.script("true")
    transport.reconnect()
    assert transport.script("echo on").text == "on\n"


def test_a_daemon_that_dies_is_noticed_at_once_and_found_again(
    transport: TcpTransport, emulated: EmulatedPhone
) -> None:
    emulated.faults.kill_in, emulated.faults.down_s = "sleep 30", 0.5
    began = time.monotonic()
    with pytest.raises(DeviceLostError, match="no answer"):
        transport.shell(["sleep", "30"], 60)
    assert time.monotonic() - began < 15  # of 30
    with pytest.raises(DeviceLostError, match="Connection refused"):
        transport.reconnect()
    wait_for_link(transport.reconnect)
    assert transport.shell(["echo", "on"], 5).text == "on\n"


def test_a_shell_that_ends_without_an_answer(
    transport: TcpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_run", lambda *_: "error: closed\n")
    with pytest.raises(DeviceLostError, match="cut off: error: closed"):
        transport.shell(["true"], 5)


def test_a_phone_that_says_nothing(
    emulated: EmulatedPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "_CONNECT_S", 0.2)
    emulated.faults.silent = True
    with pytest.raises(DeviceLostError, match="nothing came"):
        connect(emulated)


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DeviceLostError, match=f"127.0.0.1:{port}: cannot connect: .*refused"):
        TcpTransport("127.0.0.1", port).reconnect()


def test_an_unknown_key_has_to_be_accepted_once(emulated: EmulatedPhone) -> None:
    daemon = emulated.daemon
    daemon.known = []
    with pytest.raises(UserError, match="accept 'Allow USB debugging") as error:
        connect(emulated)
    assert not isinstance(error.value, DeviceLostError)
    assert len(daemon.offered) == 1
    daemon.accept = True
    connect(emulated).close()
    daemon.accept = False
    connect(emulated).close()  # the same key again, and no question
    assert len(daemon.offered) == 2
    assert len(set(daemon.offered)) == 1


def test_a_command_takes_milliseconds(transport: TcpTransport) -> None:
    transport.shell(["true"], 5)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        transport.script("true")
        times.append(time.perf_counter() - began)
    assert min(times) < 0.03  # 48 ms where small packets are gathered


# There is no USB here: these tests end where the library would be asked to connect.


def plug(monkeypatch: pytest.MonkeyPatch, *serials: str) -> None:
    found = {serial: SimpleNamespace(serial_number=serial) for serial in serials}
    monkeypatch.setattr(direct, "_usb_phones", lambda: found)


def test_usb_without_libusb() -> None:
    pytest.importorskip("adb_shell")
    try:
        import usb1  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"pip install 'adb-shell\[usb\]'"):
            UsbTransport()


@pytest.mark.parametrize(
    ("plugged", "serial", "reason"),
    [
        ((), None, "no phone on USB"),
        ((), "A1", "no phone with serial A1"),
        (("A1", "B2"), None, "several phones are connected: A1, B2; choose one with --serial"),
        (("A1", "B2"), "C3", "no phone with serial C3 on USB; connected: A1, B2"),
    ],
)
def test_which_phone_on_usb(
    monkeypatch: pytest.MonkeyPatch, plugged: tuple[str, ...], serial: str | None, reason: str
) -> None:
    plug(monkeypatch, *plugged)
    with pytest.raises(UserError, match=reason):
        UsbTransport(serial)


def test_the_only_phone_on_usb_needs_no_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, "A1")
    assert UsbTransport().label == "A1"


@pytest.mark.parametrize(
    ("name", "reason"), [("USBErrorBusy", "adb kill-server"), ("USBErrorAccess", "udev")]
)
def test_a_usb_port_that_is_not_free(
    monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    plug(monkeypatch, "A1")

    def fail(_: object) -> None:
        raise type(name, (Exception,), {})

    link = UsbTransport("A1")
    monkeypatch.setattr(direct._Direct, "_connect", fail)
    with pytest.raises(UserError, match=reason):
        link.reconnect()


class _Port:
    """What the library finds on USB: a phone, or one that cannot be opened."""

    def __init__(self, serial: str | None) -> None:
        self._serial = serial

    @property
    def serial_number(self) -> str:
        if self._serial is None:
            raise type("USBErrorAccess", (Exception,), {})
        return self._serial


@pytest.mark.parametrize("ports", [[None], [None, "A1"]])
def test_a_phone_that_cannot_be_opened_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, ports: list[str | None]
) -> None:
    library = SimpleNamespace(find_all_adb_devices=lambda: map(_Port, ports))
    module = SimpleNamespace(UsbTransport=library)
    monkeypatch.setitem(sys.modules, "adb_shell.transport.usb_transport", module)
    if "A1" in ports:
        assert UsbTransport().label == "A1"
        return
    with pytest.raises(UserError, match="no permission to use its port: install the udev"):
        UsbTransport()
