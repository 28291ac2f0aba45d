import importlib.metadata
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from brpnas.devices import runtime
from brpnas.errors import UserError


@pytest.fixture(autouse=True)
def _look_again() -> Any:
    runtime.find_runtime.cache_clear()
    yield
    runtime.find_runtime.cache_clear()


def _install(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let only these packages be installed, with modules that hold an Interpreter."""

    def version(name: str) -> str:
        if name in packages:
            return "9.9"
        raise importlib.metadata.PackageNotFoundError(name)

    def load(name: str) -> Any:
        return SimpleNamespace(Interpreter=f"the one of {name}", __file__=runtime.__file__)

    monkeypatch.setattr(runtime.importlib.metadata, "version", version)
    monkeypatch.setattr(runtime.importlib, "import_module", load)


def test_the_installed_runtime_is_found_with_version_and_hash() -> None:
    found = runtime.find_runtime()
    assert found.package == "ai-edge-litert"
    assert found.version == importlib.metadata.version("ai-edge-litert")
    assert len(found.sha256) == 64


def test_the_older_runtime_is_taken_where_it_is_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _install(monkeypatch, "tflite-runtime")
    found = runtime.find_runtime()
    assert (found.package, found.version) == ("tflite-runtime", "9.9")
    assert str(found.interpreter) == "the one of tflite_runtime.interpreter"


def test_no_runtime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch)
    with pytest.raises(UserError, match=r"neither ai-edge-litert nor .*extra 'measure'"):
        runtime.find_runtime()


def test_a_runtime_that_does_not_load_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, "tflite-runtime")

    def fail(name: str) -> Any:
        raise ImportError(f"{name} was built for numpy 1")

    monkeypatch.setattr(runtime.importlib, "import_module", fail)
    with pytest.raises(UserError, match=r"tflite-runtime 9\.9 is installed but cannot be loaded"):
        runtime.find_runtime()


def test_the_runtime_writes_nothing_on_the_users_terminal() -> None:
    code = (
        "import torch\n"
        "from brpnas.devices.local import LocalDevice\n"
        "from brpnas.devices.tflite.convert import convert\n"
        "from brpnas.devices.timing import TimingPlan\n"
        "import sys\n"
        "device = LocalDevice(TimingPlan(rounds=1, runs=1))\n"
        "device.time(convert(torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8), 'one'))\n"
        "print('still here', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "still here\n")
