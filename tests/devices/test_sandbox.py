import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brpnas.devices import trial
from brpnas.devices.sandbox import Sandbox

# A runtime whose models say what they do.
RUNTIME = """
import os, time
from pathlib import Path

class Interpreter:
    def __init__(self, model_content, num_threads):
        self.what = model_content.decode()

    def allocate_tensors(self):
        with Path("pids").open("a") as file:
            file.write(f"{os.getpid()}\\n")

    def get_input_details(self):
        return []

    def invoke(self):
        if self.what == "talk":
            os.write(1, 10**6 * b"x")
            os.write(2, 10**6 * b"x")
        if self.what == "reject":
            raise RuntimeError("no such operator")
        if self.what == "crash":
            os.abort()
        if self.what == "leave":
            os._exit(0)
        if self.what == "hang":
            time.sleep(600)
        if self.what == "crash unless new" and len(set(Path("pids").read_text().split())) == 1:
            os.abort()
"""


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    (tmp_path / "runtime_of_this_test.py").write_text(RUNTIME)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made = Sandbox("runtime_of_this_test", 1, 0.5)
    yield made
    made.close()


def _pids() -> list[int]:
    """The process in which each model ran."""
    return list(map(int, Path("pids").read_text().split()))


def test_one_process_serves_many_models(sandbox: Sandbox) -> None:
    models = [b"fine", b"reject", b"talk", b"", 10**7 * b"x"]
    assert [sandbox.try_once(content) for content in models] == [None] * 5
    assert len(_pids()) == 5
    assert len(set(_pids())) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"crash", "crashes (SIGABRT)"),
        (b"leave", "ends the program that runs it (exit status 0: )"),
        (b"hang", "took more than 0.5 s to load and run once"),
    ],
)
def test_a_model_that_ends_the_process_is_told_and_the_next_one_has_another(
    sandbox: Sandbox, content: bytes, reason: str
) -> None:
    assert sandbox.try_once(content) == reason
    assert sandbox.try_once(b"fine") is None
    first, second = _pids()
    assert first != second


def test_only_a_process_of_its_own_convicts_a_model(sandbox: Sandbox) -> None:
    assert sandbox.try_once(b"fine") is None
    assert sandbox.try_once(b"crash unless new") is None
    assert len(set(_pids())) == 2
    assert sandbox.try_once(b"crash") == "crashes (SIGABRT)"


def test_a_process_that_was_killed_while_it_waited_is_replaced(sandbox: Sandbox) -> None:
    assert sandbox.try_once(b"fine") is None
    os.kill(_pids()[0], signal.SIGKILL)
    assert sandbox.try_once(b"fine") is None


def test_a_runtime_that_does_not_load_says_why() -> None:
    assert Sandbox("no_such_module", 1, 5.0).try_once(b"") == (
        "ends the program that runs it (exit status 1: ModuleNotFoundError: No module named "
        "'no_such_module')"
    )


@pytest.mark.parametrize("how", ["closed", "forgotten"])
@pytest.mark.usefixtures("sandbox")
def test_the_process_ends_with_its_owner(how: str) -> None:
    other = Sandbox("runtime_of_this_test", 1, 60.0)
    other.try_once(b"fine")
    if how == "closed":
        other.close()
    del other
    assert _gone(_pids()[0])


@pytest.mark.usefixtures("sandbox")
def test_the_process_ends_when_its_owner_is_killed() -> None:
    code = (
        "import os\n"
        "from brpnas.devices.sandbox import Sandbox\n"
        "sandbox = Sandbox('runtime_of_this_test', 1, 60.0)\n"
        "sandbox.try_once(b'fine')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    deadline = time.monotonic() + 20
    while not _gone(_pids()[0]):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # What nobody waits for any more stays as a zombie where there is no init.
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_trial_takes_no_import_of_torch() -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, trial.__file__], check=True)
