"""What every executor has to do; the second part, those with workers elsewhere."""

from __future__ import annotations

import operator
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import executor_work as work
import pytest

from brpnas.errors import UserError
from brpnas.executors import Executor, InProcess, Outcome, Processes, RayCluster

# Ray is slow to start, so all of its tests share one.
EXECUTORS: dict[str, Callable[[], Executor]] = {
    "here": InProcess,
    "processes": partial(Processes, 2),
    "ray": partial(RayCluster, 2),
}


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        pytest.importorskip("ray")
    with EXECUTORS[request.param]() as made:
        yield made


class TestEveryExecutor:
    def test_values_in_order(self, executor: Executor) -> None:
        assert list(executor.run(abs, [])) == []
        outcomes = list(executor.run(abs, range(-20, 0)))
        assert outcomes == [Outcome(value) for value in range(20, 0, -1)]

    def test_values_with_their_places(self, executor: Executor) -> None:
        outcomes = dict(executor.as_completed(abs, range(-20, 0)))
        assert outcomes == {place: Outcome(20 - place) for place in range(20)}

    def test_published_values_are_sent_once(self, executor: Executor) -> None:
        first, other = executor.publish(list(range(1000))), executor.publish("other")
        function = partial(work.published, first)
        assert [one.value for one in executor.run(function, range(4))] == [0, 1, 2, 3]
        assert len(pickle.dumps(function)) < 1000 or isinstance(executor, InProcess)
        assert [one.value for one in executor.run(work.get, [other, first])] == [
            "other",
            list(range(1000)),
        ]

    def test_failure_is_tried_again_then_recorded(self, executor: Executor, tmp_path: Path) -> None:
        outcomes = list(executor.run(partial(work.count, tmp_path), ["item"]))
        assert outcomes == [Outcome(error="ValueError: item fails")]
        assert (tmp_path / "calls").read_text() == "xx"

    def test_failure_disturbs_no_other(self, executor: Executor) -> None:
        assert [o.error for o in executor.run(partial(operator.truediv, 1), [1, 0, 2])] == [
            None,
            "ZeroDivisionError: division by zero",
            None,
        ]

    def test_items_are_taken_as_they_are_needed(self, executor: Executor) -> None:
        items = work.Watched(100)
        outcomes = executor.run(abs, items)
        assert next(outcomes) == Outcome(0)
        assert len(items.asked) <= 20
        outcomes.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("executor", ["processes", "ray"], indirect=True, scope="module")
class TestWorkersElsewhere:
    def test_dead_workers_are_replaced_and_their_items_tried_again(
        self, executor: Executor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        outcomes = list(executor.run(partial(work.flaky, tmp_path), range(8)))
        assert outcomes == [Outcome(10 * item) for item in range(8)]
        good, also_good, dead, well = executor.run(work.die_on_two, range(4))
        assert [good, also_good, well] == [Outcome(0), Outcome(1), Outcome(3)]
        assert str(dead.error).startswith("worker process died")
        assert capfd.readouterr() == ("", "")  # stdout is for results

    def test_a_slow_one_is_waited_for_only_where_order_matters(self, executor: Executor) -> None:
        outcomes = executor.run(work.slow_first, range(5))
        assert [outcome.value for outcome in outcomes] == list(range(5))
        places = [place for place, _ in executor.as_completed(work.slow_first, range(5))]
        assert places[-1] == 0

    def test_workers_compute_with_one_thread_and_stay(self, executor: Executor) -> None:
        before = dict(os.environ)
        assert list(executor.run(work.threads, [0])) == [Outcome(("1", False))]
        pids = {work.worker_pid(executor) for _ in range(6)}
        assert dict(os.environ) == before
        assert len(pids) <= 2
        assert os.getpid() not in pids

    def test_what_cannot_be_published_is_said(self, executor: Executor) -> None:
        with pytest.raises(UserError, match="cannot be sent to other processes: TypeError"):
            executor.publish(threading.Lock())

    def test_what_cannot_be_pickled_fails_in_one_line(self, executor: Executor) -> None:
        sent = list(executor.run(work.same, [1, threading.Lock(), 2]))
        assert [sent[0], sent[2]] == [Outcome(1), Outcome(2)]
        answered, unread = (next(executor.run(do, [0])) for do in (work.lock, work.closed))
        for outcome in (sent[1], answered):
            assert outcome.error == "TypeError: cannot pickle '_thread.lock' object"
        assert unread.error == "ZeroDivisionError: division by zero"
        (unknown,) = executor.run(threading.Lock().acquire, [0])
        assert unknown.error == "TypeError: cannot pickle '_thread.lock' object"
        assert list(executor.run(abs, [-1])) == [Outcome(1)]

    def test_caller_that_stops_early_leaves_no_busy_worker(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        outcomes = executor.run(partial(work.sleep_in, tmp_path), [0, 600, 600])
        next(outcomes)
        work.wait_until(lambda: len(list(tmp_path.iterdir())) == 1)
        outcomes.close()  # type: ignore[attr-defined]
        busy = [int(path.name) for path in tmp_path.iterdir()]
        work.wait_until(lambda: all(map(work.gone, busy)))
        assert list(executor.run(abs, range(-4, 0))) == [Outcome(4 - n) for n in range(4)]
