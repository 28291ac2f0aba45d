"""The adb server's road: Debian's own adb judges the emulator, adbutils goes through it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from emulated_phone import EmulatedPhone
from emulator import wait_for, wait_for_link

from brpnas.devices.adb import Phone
from brpnas.devices.adb.transport import PushRefused
from brpnas.devices.litert import DeviceLostError
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.timing import TimingPlan
from brpnas.errors import UserError

pytest.importorskip("adbutils")

from brpnas.devices.adb.server import ServerTransport

Adb = Callable[..., str]


def test_debians_adb_takes_the_emulator_for_a_phone(
    adb: Adb, emulated: EmulatedPhone, tmp_path: Path
) -> None:
    emulated.daemon.known, emulated.daemon.accept = [], True
    adb("connect", emulated.address)
    wait_for(lambda: f"{emulated.address}\tdevice" in adb("devices"))
    assert len(emulated.daemon.offered) == 1
    assert adb("shell", "echo one; echo two >&2").split() == ["one", "two"]
    assert adb("shell", "getprop ro.product.model").strip() == "Emulated"
    content = bytes(range(256)) * 5000
    (tmp_path / "there").write_bytes(content)
    assert "1 file pushed" in adb("push", tmp_path / "there", tmp_path / "on the phone")
    assert (tmp_path / "on the phone").read_bytes() == content
    assert "1 file pulled" in adb("pull", tmp_path / "on the phone", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    assert "No such file" in adb("push", tmp_path / "there", "/no/such/folder/file")


def test_an_unknown_key_is_unauthorised(adb: Adb, emulated: EmulatedPhone) -> None:
    emulated.daemon.known = []
    adb("connect", emulated.address)
    wait_for(lambda: "unauthorized" in adb("devices"))
    with pytest.raises(UserError, match="accept 'Allow USB debugging") as error:
        ServerTransport(address=emulated.address).reconnect()
    assert not isinstance(error.value, DeviceLostError)


@pytest.fixture
def link(adb: Adb, emulated: EmulatedPhone) -> ServerTransport:
    adb("start-server")
    transport = ServerTransport(address=emulated.address)
    wait_for_link(transport.reconnect)
    return transport


def test_shell_and_push(link: ServerTransport, emulated: EmulatedPhone, tmp_path: Path) -> None:
    reply = link.shell(["sh", "-c", 'printf "<%s>" "$@"; exit 3', "x", "$(touch pwned)", "a\nb"], 5)
    assert (reply.code, reply.text) == (3, "<$(touch pwned)><a\nb>")
    assert link.shell(["sleep", "30"], 1).timed_out
    content = bytes(range(256)) * 9000
    link.push_verified(content, str(tmp_path / "file"))
    assert hashlib.sha256((tmp_path / "file").read_bytes()).digest() == (
        hashlib.sha256(content).digest()
    )
    emulated.faults.refuse_push = "No space left on device"
    with pytest.raises(PushRefused, match="No space left on device"):
        link.push(content, str(tmp_path / "other"))
    assert link.shell(["echo", "on"], 5).text == "on\n"


def test_a_phone_through_the_server(
    link: ServerTransport, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = Phone(link, emulated.profile(transport="adbutils"), TimingPlan(runs=3))
    assert device.identity()["serial"] == "EMU0001"
    assert device.time(model).samples["count"] == (3,)
    emulated.faults.kill_in = "--num_runs"
    with pytest.raises(DeviceLostError):
        device.time(model)
    wait_for_link(device.reconnect, 15)
    assert device.time(model).samples["count"] == (3,)


def test_which_phone(adb: Adb, link: ServerTransport, emulated: EmulatedPhone) -> None:
    assert ServerTransport().label == emulated.address == link.label
    with pytest.raises(DeviceLostError, match="the adb server does not know it"):
        ServerTransport("NO_SUCH").reconnect()
    adb("disconnect", emulated.address)
    with pytest.raises(UserError, match="no phone is connected"):
        ServerTransport()


def test_several_phones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerTransport, "_states", lambda _: {"B2": "device", "A1": "offline"})
    with pytest.raises(UserError, match=r"several phones are connected: A1, B2; .*--serial"):
        ServerTransport()
    with pytest.raises(DeviceLostError, match="A1: cannot connect: is offline"):
        ServerTransport("A1").reconnect()


def test_a_port_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "many")
    with pytest.raises(UserError, match="ANDROID_ADB_SERVER_PORT is 'many'"):
        ServerTransport()
