"""A phone that is lost in the middle of a sweep."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from emulated_phone import EmulatedPhone
from emulator import wait_for, wait_for_link

from brpnas.devices.adb import Phone
from brpnas.devices.litert import DeviceLostError
from brpnas.devices.tflite import TFLiteModel
from brpnas.errors import UserError

MakePhone = Callable[..., Phone]


def test_runs_that_a_lost_link_left_behind_are_ended(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel, tmp_path: Path
) -> None:
    device = phone()
    device.time(model)
    emulated.benchmark = "hang"
    emulated.faults.kill_in = "--num_runs"
    with pytest.raises(DeviceLostError):
        device.time(model)
    ours, others = f"--graph={emulated.folder}/", f"--graph={tmp_path}/mine.tflite"
    wait_for(lambda: len(_running(ours)) > 1)  # the shell and the program at least
    with subprocess.Popen([*_SLEEPING, others]) as another:
        wait_for_link(device.reconnect)
        device.wait_until_fit(pytest.fail)
        wait_for(lambda: not _running(ours))
        assert _running(others) == [another.pid]
        another.kill()
    emulated.benchmark = "ok"
    assert device.time(model).samples["count"] == (3,)


def test_runs_of_another_machine_are_left_alone(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = phone()
    device.time(model)
    emulated.benchmark = "hang"
    emulated.faults.kill_in = "--num_runs"
    with pytest.raises(DeviceLostError):
        device.time(model)
    wait_for_link(device.reconnect)
    graph = f"--graph={emulated.folder}/"
    emulated.claim(100)
    with pytest.raises(UserError, match="in use by user 7 of machine 'other'"):
        phone().wait_until_fit(pytest.fail)
    assert _running(graph)
    emulated.claim(0)
    phone().wait_until_fit(pytest.fail)
    wait_for(lambda: not _running(graph))


_SLEEPING = (sys.executable, "-c", "import time; time.sleep(60)")


def _running(argument: str) -> list[int]:
    """Return the processes that have an argument which begins like this."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if any(word.startswith(argument) for word in path.read_text().split("\0")):
                found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("when", ["--num_runs", "sync:"])
def test_a_phone_that_is_lost_and_comes_back(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel, when: str
) -> None:
    device = phone()
    faults = emulated.faults
    faults.down_s = 0.3
    if when == "sync:":
        faults.cut_push_after = 100
    else:
        faults.kill_in = when
    with pytest.raises(DeviceLostError):
        device.time(model)
    with pytest.raises(DeviceLostError):
        device.reconnect()
    wait_for_link(device.reconnect)
    assert device.time(model).samples["count"] == (3,)


def test_a_phone_that_restarts_is_waited_for(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = phone()
    device.time(model)
    emulated.write("properties/sys.boot_completed", "")
    emulated.daemon.reboot(0.2)
    with pytest.raises(DeviceLostError):
        device.time(model)
    time.sleep(0.5)
    with pytest.raises(DeviceLostError, match="still starting"):
        device.reconnect()
    emulated.write("properties/sys.boot_completed", "1")
    device.reconnect()
    assert device.time(model).samples["count"] == (3,)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("properties/ro.serialno", "another phone answers"),
        ("properties/ro.build.fingerprint", "has changed .*fingerprint"),
        ("bin/benchmark_model", "has changed .*program_sha256"),
    ],
)
def test_a_phone_that_comes_back_as_another(
    phone: MakePhone, emulated: EmulatedPhone, name: str, reason: str
) -> None:
    device = phone()
    emulated.write(name, "changed", 0o755)
    with pytest.raises(UserError, match=reason) as error:
        device.reconnect()
    assert not isinstance(error.value, DeviceLostError)
