"""An emulated phone, and homes of their own for keys."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from emulated_phone import EmulatedPhone
from torch import nn

from brpnas.devices.adb import Phone
from brpnas.devices.adb.direct import TcpTransport
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.convert import convert
from brpnas.devices.timing import TimingPlan

ADB = shutil.which("adb")


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """No test finds or leaves keys in the user's home."""


@pytest.fixture
def transport(emulated: EmulatedPhone) -> Iterator[TcpTransport]:
    """A link to the emulated phone, connected."""
    link = TcpTransport("127.0.0.1", emulated.daemon.port, authorise_s=0.3)
    link.reconnect()
    yield link
    link.close()


@pytest.fixture
def phone(emulated: EmulatedPhone, transport: TcpTransport) -> Callable[..., Phone]:
    """Make the device; takes attributes of the plan, and ``adb`` with those of the profile."""

    def make(adb: dict[str, object] | None = None, **plan: object) -> Phone:
        settled: dict[str, object] = {"runs": 3, "warmup": 1, "timeout_s": 20.0, **plan}
        return Phone(transport, emulated.profile(**(adb or {})), TimingPlan(**settled))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def model() -> TFLiteModel:
    """A network of one layer, with a hostile name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).eval()
    return convert(module, torch.zeros(1, 3, 16, 16), "a'; touch pwned; $(touch pwned) `id`\n")


@pytest.fixture
def adb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Run Debian's adb with a server of its own."""
    if ADB is None:
        pytest.skip("no adb client is installed (Debian's package adb)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    monkeypatch.setenv("ADB_LOCAL_TRANSPORT_MAX_PORT", "5554")  # looks for no other emulators

    def run(*arguments: object) -> str:
        done = subprocess.run(
            [str(ADB), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=30,
            env=dict(os.environ),
            check=False,
        )
        return done.stdout + done.stderr

    yield run
    run("kill-server")
