from __future__ import annotations

import contextlib
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from brpnas.executors import Executor, InProcess, Outcome, Processes

# Workers import what they run, and a test file has no name they could import it by.
MODULE = '''
import os, sys, time
from pathlib import Path

def flaky(folder, item):
    """Fail on the first attempt at an odd item: 1 raises, 3 kills the process, 5 exits."""
    attempt = Path(folder, str(item))
    if item % 2 and not attempt.exists():
        attempt.touch()
        if item == 1:
            raise ValueError("not yet")
        os.kill(os.getpid(), 9) if item == 3 else os._exit(7)
    return item * 10

def die_on_two(item):
    if item == 2:
        os._exit(7)
    return item

def slow_first(item):
    time.sleep(0.5 if item == 0 else 0)
    return item

def threads(_):
    return os.environ["OMP_NUM_THREADS"], "torch" in sys.modules

def count(folder, item):
    with Path(folder, "calls").open("a") as file:
        file.write("x")
    raise ValueError("always\\nfails")

def lock(_):
    import threading
    return threading.Lock()  # cannot be pickled

def sleep_in(folder, seconds):
    Path(folder, str(os.getpid())).touch()
    time.sleep(seconds)

class Closed:
    def __reduce__(self):
        return operator_truediv, (1, 0)

def operator_truediv(a, b):
    return a / b

def closed(_):
    return Closed()
'''


@pytest.fixture
def helpers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Callable[..., object]]]:
    (tmp_path / "executor_helpers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import executor_helpers  # type: ignore[import-not-found]

    yield vars(executor_helpers)
    del sys.modules["executor_helpers"]


@pytest.fixture(params=[InProcess, partial(Processes, 2)], ids=["here", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with request.param() as made:
        yield made


def gone(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def worker_pid(executor: Executor) -> int:
    (outcome,) = executor.run(operator.call, [os.getpid])
    assert outcome.value is not None
    return outcome.value


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_values_in_order(executor: Executor) -> None:
    assert list(executor.run(abs, [])) == []
    assert list(executor.run(abs, range(-20, 0))) == [Outcome(value) for value in range(20, 0, -1)]


def test_failure_is_tried_again_then_recorded(
    executor: Executor, helpers: dict[str, Callable[..., object]], tmp_path: Path
) -> None:
    outcomes = list(executor.run(partial(helpers["count"], tmp_path), ["item"]))
    assert outcomes == [Outcome(error="ValueError: always fails")]
    assert (tmp_path / "calls").read_text() == "xx"
    reciprocal = partial(operator.truediv, 1)
    assert [o.error for o in executor.run(reciprocal, [1, 0, 2])] == [
        None,
        "ZeroDivisionError: division by zero",
        None,
    ]


def test_dead_workers_are_replaced_and_their_items_tried_again(
    helpers: dict[str, Callable[..., object]], tmp_path: Path
) -> None:
    with Processes(2) as executor:
        outcomes = list(executor.run(partial(helpers["flaky"], tmp_path), range(8)))
        assert outcomes == [Outcome(10 * item) for item in range(8)]
        assert list(executor.run(helpers["die_on_two"], range(4))) == [
            Outcome(0),
            Outcome(1),
            Outcome(error="worker process died (exit code 7)"),
            Outcome(3),
        ]


def test_worker_that_died_while_idle_is_replaced() -> None:
    with Processes(1) as executor:
        pid = worker_pid(executor)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: gone(pid))
        assert list(executor.run(abs, [-1, -2])) == [Outcome(1), Outcome(2)]


def test_order_holds_when_the_first_is_slow(helpers: dict[str, Callable[..., object]]) -> None:
    with Processes(2) as executor:
        outcomes = list(executor.run(helpers["slow_first"], range(5)))
    assert [outcome.value for outcome in outcomes] == list(range(5))


def test_workers_compute_with_one_thread_and_stay(
    helpers: dict[str, Callable[..., object]],
) -> None:
    before = dict(os.environ)
    with Processes(1) as executor:
        assert list(executor.run(helpers["threads"], [0])) == [Outcome(("1", False))]
        pids = {worker_pid(executor) for _ in range(3)}
    assert dict(os.environ) == before
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_what_cannot_be_pickled(helpers: dict[str, Callable[..., object]]) -> None:
    with Processes(1) as executor:
        (unsent, unread) = (next(executor.run(helpers[name], [0])) for name in ("lock", "closed"))
        assert "cannot pickle" in str(unsent.error)
        assert unread.error == "ZeroDivisionError: division by zero"
        with pytest.raises(Exception, match="pickle"):
            list(executor.run(lambda item: item, [0]))
        assert list(executor.run(abs, [-1])) == [Outcome(1)]


def test_caller_that_stops_early_leaves_no_busy_worker(
    helpers: dict[str, Callable[..., object]], tmp_path: Path
) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    with Processes(2) as executor:
        outcomes = executor.run(partial(helpers["sleep_in"], folder), [0, 600, 600])
        next(outcomes)
        wait_until(lambda: len(list(folder.iterdir())) == 2)
        outcomes.close()  # type: ignore[attr-defined]
    assert all(gone(int(path.name)) for path in folder.iterdir())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.usefixtures("helpers")
def test_interrupted_or_killed_caller_leaves_no_orphans(tmp_path: Path, how: int) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from functools import partial\n"
        "from brpnas.executors import Processes\n"
        "from executor_helpers import sleep_in\n"
        f"list(Processes(2).run(partial(sleep_in, {str(folder)!r}), [600] * 4))\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)  # noqa: S603
    wait_until(lambda: len(list(folder.iterdir())) == 2)
    caller.send_signal(how)
    caller.wait(timeout=60)
    for path in folder.iterdir():
        wait_until(lambda path=path: gone(int(path.name)))  # type: ignore[misc]


def test_impossible_number_of_workers() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Processes(0)
