"""Against AOSP's own daemon, as Debian packages it (trixie and later).

It listens on all interfaces and asks for no key, so it runs only in a network of its own, which
ends with the test: all that talks to it is inside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# How to start it where it is not installed, such as through the loader of another release.
ADBD = os.environ.get("BRPNAS_ADBD") or shutil.which("adbd") or ""

_INSIDE = """
import json, os, shlex, subprocess, sys, time
from pathlib import Path

folder, adbd, tests = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, tests)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

import torch
from emulated_phone import EmulatedPhone
from emulator import wait_for_link
from torch import nn
from brpnas.devices.adb import Phone
from brpnas.devices.adb.direct import TcpTransport
from brpnas.devices.litert import DeviceLostError
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.convert import convert
from brpnas.devices.timing import TimingPlan

emulated = EmulatedPhone(folder / "phone")
env = {**os.environ, "PATH": f"{folder}/phone/bin:{os.environ['PATH']}",
       "PHONE": f"{folder}/phone"}
def start():
    return subprocess.Popen(shlex.split(adbd), env=env, stderr=subprocess.DEVNULL)
daemon = start()
try:
    link = TcpTransport("127.0.0.1", 5555)
    wait_for_link(link.reconnect)
    convolution = nn.Sequential(nn.Conv2d(3, 8, 3)).eval()
    model = convert(convolution, torch.zeros(1, 3, 16, 16), "a' name; touch pwned")
    phone = Phone(link, emulated.profile(), TimingPlan(runs=4))
    first = phone.time(model)
    overheads = []
    for _ in range(10):
        before, began = emulated.inference_s, time.perf_counter()
        phone.wait_until_fit(print)
        phone.time(model)
        overheads.append(time.perf_counter() - began - (emulated.inference_s - before))
    emulated.benchmark = "hang"
    timed_out = Phone(link, emulated.profile(), TimingPlan(timeout_s=1))
    try:
        timed_out.time(model)
    except Exception as error:
        hung = str(error)
    emulated.benchmark = "ok"
    daemon.kill(); daemon.wait()
    try:
        phone.time(model)
    except DeviceLostError as error:
        lost = str(error)
    daemon = start()
    wait_for_link(phone.reconnect)
    large = TFLiteModel("large", model.content + bytes(5_000_000), "test")
    print(json.dumps({
        "serial": phone.identity()["serial"], "count": first.samples["count"],
        "overhead_s": sorted(overheads)[5], "hung": hung, "lost": lost,
        "again": phone.time(large).samples["count"],
    }))
finally:
    daemon.kill()
    emulated.close()
"""


@pytest.mark.adbd
def test_a_phone_behind_aosps_daemon(tmp_path: Path) -> None:
    if not ADBD:
        pytest.skip("no adbd: install Debian's package of that name, or set BRPNAS_ADBD")
    alone = [str(shutil.which("unshare")), "-Urn"]
    if subprocess.run([*alone, "true"], check=False).returncode != 0:
        pytest.skip("this machine allows no network of its own (unshare -Urn)")
    done = subprocess.run(
        [*alone, sys.executable, "-c", _INSIDE, str(tmp_path), ADBD, str(Path(__file__).parent)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["serial"] == "EMU0001"
    assert found["count"] == found["again"] == [4]
    assert found["overhead_s"] < 0.1
    assert "took more than 1 s" in found["hung"]
    assert "no answer" in found["lost"]
    assert not list(tmp_path.rglob("pwned"))
