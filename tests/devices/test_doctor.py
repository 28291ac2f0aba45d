from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from emulated_phone import EmulatedPhone

from brpnas.devices import doctor
from brpnas.devices.doctor import Check, examine
from brpnas.devices.profile import read_profile
from brpnas.devices.sweep import exclusive
from brpnas.errors import UserError


@pytest.fixture
def emulated(emulated: EmulatedPhone) -> EmulatedPhone:
    emulated.delegates = {"--use_gpu"}
    return emulated


def states(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_a_phone_that_is_well(emulated: EmulatedPhone) -> None:
    checks = examine(emulated.profile())
    assert set(states(checks).values()) == {"ok"}, checks
    assert list(states(checks)) == [
        "connection",
        "phone",
        "tools",
        "cores",
        "folder",
        "program",
        "delegate cpu",
        "delegate gpu",
        "screen",
        "governor",
        "temperature",
        "battery",
    ]
    assert not any(check.fix for check in checks)
    assert "EMU0001" in named(checks, "phone").found
    assert "879 MB free" in named(checks, "folder").found
    assert named(checks, "temperature").found == "25.1 °C"


@pytest.mark.parametrize(
    ("name", "content", "check", "state", "fix"),
    [
        ("properties/ro.product.model", "Other", "phone", "problem", "write a profile"),
        ("bin/taskset", "#!/bin/sh\nexit 1", "cores", "problem", "cpu_mask"),
        ("free_kb", "50000", "folder", "warning", "remove something"),
        ("bin/benchmark_model", "#!/bin/sh\necho bad ELF", "program", "problem", "arm64-v8a"),
        ("services/power", "mWakefulness=Asleep", "screen", "warning", "Stay awake"),
        ("services/window", "  showing=true", "screen", "warning", "unlock it"),
        ("services/battery", " level: 80\n temperature: 450\n", "temperature", "warning", "cool"),
        ("services/battery", " level: 80\n", "temperature", "warning", "cool place"),
        ("services/battery", " level: 9\n temperature: 250\n", "battery", "warning", "charge it"),
    ],
)
def test_what_is_wrong_and_what_to_do(
    emulated: EmulatedPhone, name: str, content: str, check: str, state: str, fix: str
) -> None:
    emulated.write(name, content, 0o755)
    checks = examine(emulated.profile())
    found = named(checks, check)
    assert found.state == state
    assert fix in found.fix
    others = {other.name for other in checks if other.state != "ok"} - {check}
    assert others <= {"delegate cpu", "delegate gpu"}


def test_delegates_that_the_program_does_not_know(emulated: EmulatedPhone) -> None:
    emulated.delegates = set()
    checks = examine(emulated.profile())
    assert named(checks, "delegate cpu").state == "ok"
    assert named(checks, "delegate gpu").state == "warning"
    assert "--use_gpu=true" in named(checks, "delegate gpu").found


def test_no_program(emulated: EmulatedPhone) -> None:
    (emulated.root / "bin/benchmark_model").unlink()
    found = named(examine(emulated.profile()), "program")
    assert (found.state, found.found.startswith("no /")) == ("problem", True)
    assert "adb.push_binary" in found.fix


def test_a_program_that_may_not_be_run(emulated: EmulatedPhone) -> None:
    program = emulated.root / "bin/benchmark_model"
    program.chmod(0o644)
    found = named(examine(emulated.profile()), "program")
    assert (found.state, found.fix) == ("problem", f"adb shell chmod 755 {program}")


def test_a_program_of_this_machine_is_put_there_and_examined(
    emulated: EmulatedPhone, tmp_path: Path
) -> None:
    mine = (emulated.root / "bin/benchmark_model").rename(tmp_path / "mine")
    profile = emulated.profile(push_binary=mine)
    checks = examine(profile)
    assert named(checks, "program").state == "ok"
    (pushed,) = emulated.models
    assert f"/{pushed}, " in named(checks, "program").found
    assert states(checks)["delegate gpu"] == "ok"
    emulated.delegates = set()
    assert states(examine(profile))["delegate gpu"] == "warning"
    assert emulated.daemon.log.count("sync:") == 1
    mine.write_text("#!/bin/sh\necho bad ELF")
    assert "arm64-v8a" in named(examine(profile), "program").fix
    assert not (emulated.folder / "owner").exists()


def test_nothing_is_put_on_a_phone_that_is_in_use(emulated: EmulatedPhone) -> None:
    profile = emulated.profile(push_binary=emulated.root / "bin/benchmark_model")
    emulated.claim(100)
    found = named(examine(profile), "program")
    assert (found.state, "user 7 of machine 'other'" in found.fix) == ("problem", True)
    emulated.claim(0)
    with exclusive({"name": "emulated", "serial": "EMU0001"}):
        found = named(examine(profile), "program")
    assert (found.state, "in use by process" in found.fix) == ("problem", True)
    assert "sync:" not in emulated.daemon.log


def test_a_missing_tool(emulated: EmulatedPhone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TOOLS", ("timeout", "no_such_tool"))
    found = named(examine(emulated.profile()), "tools")
    assert (found.state, found.found) == ("problem", "no no_such_tool")


def test_a_folder_that_cannot_be_written(emulated: EmulatedPhone) -> None:
    emulated.write("file", "")
    found = named(examine(emulated.profile(folder=f"{emulated.root}/file/models")), "folder")
    assert (found.state, "adb.folder" in found.fix) == ("problem", True)


def test_the_app_needs_a_screen_that_is_on(emulated: EmulatedPhone) -> None:
    emulated.write("services/power", "mWakefulness=Dozing")
    profile = replace(emulated.profile(runner="apk"), cpu_mask=None)
    checks = examine(profile)
    assert states(checks)["program"] == "problem"
    assert "adb install" in named(checks, "program").fix
    assert states(checks)["screen"] == "problem"
    emulated.write("base.apk", "app")
    assert states(examine(profile))["program"] == "ok"


def test_the_app_is_tried_with_each_delegate(emulated: EmulatedPhone) -> None:
    emulated.write("base.apk", "app")
    profile = replace(emulated.profile(runner="apk"), cpu_mask=None)
    checks = examine(profile)
    assert set(states(checks).values()) == {"ok"}, checks
    assert "ran in" in named(checks, "delegate gpu").found
    assert not (emulated.folder / "owner").exists()
    emulated.delegates = set()
    found = named(examine(profile), "delegate gpu")
    assert (found.state, "--use_gpu=true" in found.found) == ("warning", True)


def test_a_phone_that_is_not_reached(emulated: EmulatedPhone) -> None:
    emulated.daemon.reboot(1000)
    (found,) = examine(emulated.profile())
    assert (found.name, found.state) == ("connection", "problem")
    assert "refused" in found.fix


def test_a_phone_that_is_lost_meanwhile(emulated: EmulatedPhone) -> None:
    emulated.faults.kill_in, emulated.faults.down_s = "--help", 1000
    checks = examine(emulated.profile())
    assert checks[-1].name == "connection"
    assert checks[-1].state == "problem"
    assert states(checks)["folder"] == "ok"  # what was seen before stays


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(doctor, "read_sysfs", lambda _: "powersave")
    assert states(examine(read_profile("local"))) == {
        "runtime": "ok",
        "cores": "ok",
        "governor": "warning",
        "load": "ok",
    }

    def missing() -> None:
        raise UserError("neither is installed")

    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    monkeypatch.setattr(doctor, "find_runtime", missing)
    checks = examine(read_profile("local"))
    assert (named(checks, "load").state, named(checks, "runtime").state) == ("warning", "problem")


def test_the_emulated_programs_may_be_run(emulated: EmulatedPhone) -> None:
    for path in (emulated.root / "bin").iterdir():
        assert path.stat().st_mode & stat.S_IXUSR
