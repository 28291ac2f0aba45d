from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from emulated_phone import EmulatedPhone

from brpnas.devices.profile import profile_names


def test_list(brpnas: Any) -> None:
    found = brpnas.json("devices", "list")["devices"]
    assert [device["name"] for device in found] == profile_names()
    assert all(device["title"] and device["delegates"] for device in found)
    text = brpnas("devices", "list").stdout
    assert all(name in text for name in profile_names())


def test_describe(brpnas: Any, phone: EmulatedPhone) -> None:
    assert brpnas.json("devices", "describe", "pixel4")["cpu_mask"] == "70"
    text = brpnas("devices", "describe", "pixel4").stdout
    assert "--use_gpu=true" in text
    assert "Pixel 4 XL" in text
    (Path("bench")).write_bytes(b"")
    mine = phone.toml(Path("mine.toml"), push_binary="bench")
    found = brpnas.json("devices", "describe", mine)
    assert found["name"] == "mine"
    assert found["adb"]["push_binary"] == "bench"


def test_doctor(brpnas: Any, phone: EmulatedPhone) -> None:
    found = brpnas.json("devices", "doctor", "mine.toml")
    assert (found["device"], found["problems"]) == ("mine", 0)
    gpu = next(check for check in found["checks"] if check["name"] == "delegate gpu")
    assert (gpu["state"], bool(gpu["fix"])) == ("warning", True)
    text = brpnas("devices", "doctor", "mine.toml", "--address", phone.address).stdout
    assert "delegate gpu" in text
    assert "what to do" in text


def test_doctor_ends_with_1_where_something_is_missing(brpnas: Any, phone: EmulatedPhone) -> None:
    (phone.root / "bin/benchmark_model").unlink()
    result = brpnas("devices", "doctor", "mine.toml", code=1)
    assert "push_binary" in result.stdout
    assert result.stderr == ""
    assert '"problems": 1' in brpnas("devices", "doctor", "mine.toml", "--json", code=1).stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("describe", "pixel5"), "unknown device 'pixel5'"),
        (("describe", "absent.toml"), "absent.toml: cannot be read"),
        (("doctor", "nothing"), "Choices: adb, local"),
        (("doctor", "local", "--serial", "X"), "name a phone; 'local' is this machine"),
        (("doctor", "local", "--address", "phone"), "name a phone; 'local' is this machine"),
    ],
)
def test_errors(brpnas: Any, arguments: tuple[str, ...], reason: str) -> None:
    assert reason in brpnas.error("devices", *arguments)
