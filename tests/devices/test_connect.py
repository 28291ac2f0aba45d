from __future__ import annotations

import sys
from pathlib import Path

import pytest
from emulated_phone import EmulatedPhone

from brpnas.devices.adb import Phone
from brpnas.devices.connect import connect, open_transport
from brpnas.devices.profile import AdbSettings, read_profile
from brpnas.devices.timing import TimingPlan
from brpnas.errors import UserError

PLAN = TimingPlan(runs=2)


def test_a_phone_by_its_profile(emulated: EmulatedPhone, tmp_path: Path) -> None:
    profile = read_profile(str(emulated.toml(tmp_path / "mine.toml")))
    with connect(profile, PLAN) as device:
        assert isinstance(device, Phone)
        assert device.identity()["name"] == "mine"
        assert device.plan == PLAN


def test_an_address_that_is_given_wins(emulated: EmulatedPhone) -> None:
    profile = emulated.profile(address="203.0.113.1:1")
    connect(profile, PLAN, address=emulated.address).close()


def test_this_machine() -> None:
    assert connect(read_profile("local"), PLAN).identity()["name"] == "local"
    with pytest.raises(UserError, match="--serial goes with devices that have one, which"):
        connect(read_profile("local"), PLAN, serial="A1")
    with pytest.raises(UserError, match="device 'local' has no delegate 'gpu'; accepted: cpu"):
        connect(read_profile("local"), TimingPlan(delegate="gpu"))


def test_a_plan_is_checked_before_the_phone_is_asked() -> None:
    with pytest.raises(UserError, match="device 'pixel6' has no delegate 'dsp'"):
        connect(read_profile("pixel6"), TimingPlan(delegate="dsp"), address="203.0.113.1:1")


def test_a_phone_of_another_profile(emulated: EmulatedPhone) -> None:
    with pytest.raises(UserError, match="is a 'Emulated', profile 'pixel4' is for: Pixel 4"):
        connect(read_profile("pixel4"), PLAN, address=emulated.address)


def test_nobody_there(emulated: EmulatedPhone) -> None:
    emulated.daemon.reboot(1000)
    with pytest.raises(UserError, match=r"refused; see that it is switched on") as caught:
        connect(emulated.profile(), PLAN)
    assert "doctor" not in str(caught.value)  # which says it too, and knows no more


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "'' is not HOST:PORT"),
        ("phone:port", "is not HOST:PORT"),
        ("phone:70000", "is not HOST:PORT"),
        ("a b:1", "is not HOST:PORT"),
    ],
)
def test_bad_addresses(address: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        open_transport(AdbSettings(), None, address)


@pytest.mark.parametrize(
    ("address", "label"),
    [("phone", "phone:5555"), ("10.0.0.1:7", "10.0.0.1:7"), ("[::1]:7", "::1:7")],
)
def test_addresses(monkeypatch: pytest.MonkeyPatch, address: str, label: str) -> None:
    monkeypatch.setattr("brpnas.devices.adb.direct.TcpTransport._connect", lambda _: None)
    assert open_transport(AdbSettings(), None, address).label == label


def test_serial_and_address() -> None:
    with pytest.raises(UserError, match="both given"):
        open_transport(AdbSettings(), "A1", "phone:1")


@pytest.mark.parametrize(
    ("transport", "module", "extra"),
    [("adb-shell", "direct", "measure"), ("adbutils", "server", "adbutils")],
)
def test_missing_extras(
    monkeypatch: pytest.MonkeyPatch, transport: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, f"brpnas.devices.adb.{module}", None)
    with pytest.raises(UserError, match=rf"its extra '{extra}' .*pip install '\.\[{extra}\]'"):
        open_transport(AdbSettings(transport=transport), None, "phone:1")
