from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import executor_work as work
import pytest

from brpnas.executors import Outcome, Processes


def test_error_tells_the_exit_code() -> None:
    with Processes(1) as executor:
        (outcome,) = executor.run(work.die_on_two, [2])
    assert outcome.error == "worker process died (exit code 7)"


def test_worker_that_died_while_idle_is_replaced() -> None:
    with Processes(1) as executor:
        pid = work.worker_pid(executor)
        os.kill(pid, signal.SIGKILL)
        work.wait_until(lambda: work.gone(pid))
        assert list(executor.run(abs, [-1, -2])) == [Outcome(1), Outcome(2)]


def test_one_worker_does_everything_until_it_is_closed() -> None:
    with Processes(1) as executor:
        pids = {work.worker_pid(executor) for _ in range(3)}
    (pid,) = pids
    assert work.gone(pid)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_or_killed_caller_leaves_no_orphans(tmp_path: Path, how: int) -> None:
    code = (
        f"import sys; sys.path.append({str(Path(work.__file__).parent)!r})\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from brpnas.executors import Processes\n"
        "from executor_work import sleep_in\n"
        f"list(Processes(2).run(partial(sleep_in, Path({str(tmp_path)!r})), [600] * 4))\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    work.wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    caller.send_signal(how)
    caller.wait(timeout=60)
    for path in tmp_path.iterdir():
        work.wait_until(lambda path=path: work.gone(int(path.name)))  # type: ignore[misc]


@pytest.mark.parametrize("use", ["list(found)", "next(found)"])
def test_workers_clean_up_before_they_end(use: str) -> None:
    seconds = [0, 600] if use == "next(found)" else [0, 0]
    code = (
        f"import sys; sys.path.append({str(Path(work.__file__).parent)!r})\n"
        "from brpnas.executors import Processes\n"
        "from executor_work import hold_semaphore\n"
        f"with Processes(1) as executor:\n"
        f"    found = executor.run(hold_semaphore, {seconds})\n"
        f"    {use}\n"
        "    found.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")  # no word of leaked semaphores


def test_impossible_number_of_workers() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Processes(0)
