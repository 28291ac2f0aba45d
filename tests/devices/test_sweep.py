import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brpnas.devices import sweep as sweep_module
from brpnas.devices.litert import DeviceLostError, ModelError
from brpnas.devices.store import ModelRecord, Store
from brpnas.devices.sweep import Sweep, describe_series, exclusive
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.timing import Round, TimingPlan
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.testing import NamedSource, ScriptedDevice

PLAN = TimingPlan(rounds=3, runs=2, warmup=0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "_RECONNECT_S", (0, 0, 0))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(store: Store, tmp_path: Path, said: list[str]) -> Any:
    def make(device: Any) -> Sweep:
        series = store.series(describe_series(device))
        return Sweep(device, store, series, InProcess(retries=0), tmp_path / "models", said.append)

    return make


def _record(sweep: Sweep, name: str) -> ModelRecord:
    record = sweep.store.record(sweep.series, f"key of {name}")
    assert record is not None
    return record


def test_every_model_gets_all_rounds_in_changing_order(
    make: Any, scripted: Any, named: Any, tmp_path: Path
) -> None:
    device = scripted(PLAN)
    names = [f"m{number}" for number in range(20)]
    seen: list[tuple[int, int]] = []
    result = make(device).run([named(name) for name in names], lambda *done: seen.append(done))
    assert (result.measured, result.failed) == (20, 0)
    rounds = [device.timed[start : start + 20] for start in (0, 20, 40)]
    assert [sorted(one) for one in rounds] == [sorted(names)] * 3
    assert len({tuple(one) for one in [names, *rounds]}) == 4
    assert seen == [(done, 60) for done in range(1, 61)]
    assert not (tmp_path / "models").exists()


def test_models_with_one_key_are_measured_once(make: Any, scripted: Any, named: Any) -> None:
    device = scripted(PLAN)
    result = make(device).run([named("a"), named("a")])
    assert (result.measured, device.timed) == (1, ["a"] * 3)


def test_more_models_than_a_block(
    make: Any, scripted: Any, named: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "_BLOCK", 4)
    device = scripted(PLAN)
    result = make(device).run([named(f"m{number}") for number in range(10)])
    assert result.measured == 10
    assert [len(set(device.timed[at : at + 12])) for at in (0, 12)] == [4, 4]


def test_what_is_there_is_not_measured_again(make: Any, scripted: Any, named: Any) -> None:
    device = scripted(PLAN, {"b": [1.0, UserError("too busy")]})
    with pytest.raises(UserError, match="too busy"):
        make(device).run([named("a"), named("b")])
    before = len(device.timed)
    again = scripted(PLAN)
    result = make(again).run([named("a"), named("b")])
    assert result.measured == 2
    assert before - 1 + len(again.timed) == 6


def test_a_model_that_cannot_be_made_is_a_failure_with_its_reason(
    make: Any, scripted: Any, named: Any
) -> None:
    sweep = make(scripted(PLAN))
    done: list[tuple[int, int]] = []
    result = sweep.run([named("bad one"), named("a")], lambda *count: done.append(count))
    assert (result.measured, result.failed) == (1, 1)
    assert _record(sweep, "bad one").error == "ValueError: bad one cannot be made"
    assert done[-1] == (6, 6)


def test_a_model_that_fails_gets_a_second_chance(make: Any, scripted: Any, named: Any) -> None:
    sweep = make(scripted(PLAN, {"a": [ModelError("hiccup")]}))
    result = sweep.run([named("a"), named("b")])
    assert (result.measured, result.failed) == (2, 0)
    assert sorted(_record(sweep, "a").rounds) == [0, 1, 2]


def test_a_model_that_fails_twice_is_failed_and_not_tried_further(
    make: Any, scripted: Any, named: Any
) -> None:
    device = scripted(PLAN, {"a": [1.0, ModelError("no"), ModelError("no again"), 1.0]})
    sweep = make(device)
    done: list[tuple[int, int]] = []
    result = sweep.run([named("a"), named("b")], lambda *count: done.append(count))
    assert (result.measured, result.failed) == (1, 1)
    assert _record(sweep, "a").error == "no again"
    assert device.timed.count("a") == 3
    assert done[-1] == (6, 6)
    # Asked again, it gets another chance, and only its missing rounds.
    again = make(scripted(PLAN))
    assert again.run([named("a"), named("b")]).failed == 0
    assert again.device.timed == ["a", "a"]
    assert _record(again, "a").error is None


def test_a_lost_device_is_waited_for(make: Any, scripted: Any, named: Any, said: list[str]) -> None:
    device = scripted(PLAN, {"a": [DeviceLostError("cable")]}, away=[DeviceLostError("still gone")])
    result = make(device).run([named("a"), named("b")])
    assert (result.measured, device.reconnected) == (2, 2)
    assert said == ["cable; trying to reconnect"]


def test_a_device_that_stays_away_ends_the_sweep(make: Any, scripted: Any, named: Any) -> None:
    away = [DeviceLostError(f"gone {number}") for number in range(3)]
    device = scripted(PLAN, {"a": [1.0, DeviceLostError("cable")]}, away=away)
    sweep = make(device)
    with pytest.raises(UserError, match=r"gone 2; gave up.*--resume"):
        sweep.run([named("a")])
    assert sweep.store.done(sweep.series) == {"key of a": {0}}


def test_a_model_that_brings_the_device_down_does_not_stop_the_others(
    make: Any, scripted: Any, named: Any
) -> None:
    device = scripted(PLAN, {"a": [DeviceLostError("reboot")] * 9})
    sweep = make(device)
    result = sweep.run([named("a"), named("b")])
    assert (result.measured, result.failed) == (1, 1)
    assert device.timed.count("a") == 3  # and no second chance
    assert "lost 3 times while it ran this model" in str(_record(sweep, "a").error)


@dataclasses.dataclass
class Flapping(ScriptedDevice):
    """Is lost so often before a model runs.

    Attributes:
        before: how often still.
        lost_in: ``fit`` or ``push``.
    """

    before: int = 0
    lost_in: str = "fit"

    def wait_until_fit(self, *_: object) -> dict[str, float | str | None]:
        self._lose("fit")
        return {}

    def prepare(self, _: TFLiteModel) -> None:
        self._lose("push")

    def _lose(self, where: str) -> None:
        if where == self.lost_in and self.before:
            self.before -= 1
            raise DeviceLostError("cable")


@pytest.mark.parametrize("lost_in", ["fit", "push"])
def test_a_model_is_not_blamed_for_losses_before_it_runs(
    make: Any, named: Any, lost_in: str
) -> None:
    device = Flapping(PLAN, before=11, lost_in=lost_in)
    assert make(device).run([named("a"), named("b")]).failed == 0


@pytest.mark.parametrize("lost_in", ["fit", "push"])
def test_a_link_that_holds_for_no_round_ends_the_sweep(make: Any, named: Any, lost_in: str) -> None:
    device = Flapping(PLAN, before=1000, lost_in=lost_in)
    sweep = make(device)
    with pytest.raises(UserError, match=r"cable; that was the 12th time, and no round .*--resume"):
        sweep.run([named("a")])
    assert 1000 - device.before == 12
    assert _record(sweep, "a").error is None


def test_a_device_that_every_model_brings_down_ends_the_sweep(
    make: Any, scripted: Any, named: Any
) -> None:
    names = [f"m{number}" for number in range(9)]
    device = scripted(PLAN, {name: [DeviceLostError("reboot")] * 9 for name in names})
    sweep = make(device)
    with pytest.raises(UserError, match="that was the 12th time"):
        sweep.run([named(name) for name in names])
    assert len(device.timed) == 12
    for name in set(device.timed):
        assert str(_record(sweep, name).error).startswith("the device was lost 3 times while")


def test_an_answer_ends_a_row_of_losses(make: Any, scripted: Any, named: Any) -> None:
    names = [f"m{number}" for number in range(14)]
    script = {name: [DeviceLostError("cable"), *[ModelError("no")] * 2] for name in names}
    sweep = make(scripted(PLAN, script))
    assert sweep.run([named(name) for name in names]).failed == 14


def test_losses_with_rounds_in_between_are_borne(make: Any, scripted: Any, named: Any) -> None:
    names = [f"m{number}" for number in range(9)]
    device = scripted(PLAN, {name: [DeviceLostError("cable")] * 2 for name in names})
    assert make(device).run([named(name) for name in names]).failed == 0


def test_a_block_is_measured_in_parts_that_the_device_can_keep(make: Any, named: Any) -> None:
    class Small(ScriptedDevice):
        def room_bytes(self) -> float:
            return 7

    device = Small(PLAN)
    assert make(device).run([named(f"m{number}") for number in range(9)]).measured == 9
    assert [len(set(device.timed[at : at + 9])) for at in (0, 9, 18)] == [3, 3, 3]
    alone = Small(PLAN)
    assert make(alone).run([named("larger than that"), named("another one")]).measured == 2
    assert [len(set(alone.timed[at : at + 3])) for at in (0, 3)] == [1, 1]


def test_models_of_a_block_are_not_kept_in_memory(make: Any) -> None:
    made: list[weakref.ref[TFLiteModel]] = []
    alive: list[int] = []

    class Source(NamedSource):
        def __call__(self) -> TFLiteModel:
            model = super().__call__()
            made.append(weakref.ref(model))
            alive.append(sum(one() is not None for one in made))
            return model

    class Device(ScriptedDevice):
        def time(self, model: TFLiteModel) -> Round:
            made.append(weakref.ref(model))
            alive.append(sum(one() is not None for one in made))
            return super().time(model)

    make(Device(PLAN)).run([Source(f"m{number}") for number in range(20)])
    assert len(alive) == 80
    assert max(alive) <= 2  # this one, and the last before it goes


def test_a_model_that_failed_in_a_round_that_is_not_asked_for_any_more(
    make: Any, scripted: Any, named: Any
) -> None:
    failing = [1.0, 1.0, ModelError("no"), ModelError("no again")]
    assert make(scripted(PLAN, {"a": failing})).run([named("a"), named("b")]).failed == 1
    fewer = make(scripted(dataclasses.replace(PLAN, rounds=2)))
    result = fewer.run([named("a"), named("b")])
    assert (result.measured, result.failed, fewer.device.timed) == (2, 0, [])
    assert _record(fewer, "a").error is None


@pytest.mark.parametrize("busy", [[], [60.0]])
def test_a_sweep_is_stopped_while_it_waits(
    make: Any, scripted: Any, named: Any, monkeypatch: pytest.MonkeyPatch, busy: list[float]
) -> None:
    monkeypatch.setattr(sweep_module, "_RECONNECT_S", (60,))
    device = scripted(PLAN, {"a": [DeviceLostError("cable")]}, busy=list(busy))
    sweep = make(device)
    began = time.monotonic()
    threading.Timer(0.2, sweep.stop.set).start()
    with pytest.raises(KeyboardInterrupt):
        sweep.run([named("a")])
    assert time.monotonic() - began < 30  # of 60
    assert (device.timed, device.reconnected) == ([] if busy else ["a"], 0)
    assert not sweep.folder.exists()


def test_a_sweep_is_stopped_while_models_are_made(make: Any, scripted: Any) -> None:
    sweep = make(scripted(PLAN))
    made: list[str] = []

    def stop_after(source: Any) -> TFLiteModel:
        made.append(source.name)
        sweep.stop.set()
        return TFLiteModel(source.name, b"", "test")

    class Source(NamedSource):
        __call__ = stop_after

    with pytest.raises(KeyboardInterrupt):
        sweep.run([Source("a"), Source("b")])
    assert len(made) == 1
    assert sweep.device.timed == []


def test_a_folder_that_cannot_be_written_is_the_users_error(
    make: Any, scripted: Any, named: Any, tmp_path: Path
) -> None:
    (tmp_path / "models").write_text("a file")
    sweep = dataclasses.replace(make(scripted(PLAN)), folder=tmp_path / "models" / "here")
    with pytest.raises(UserError, match=r"cannot keep models in .*here: Not a dir.*--resume"):
        sweep.run([named("a")])


def test_a_series_does_not_depend_on_rounds_and_patience(scripted: Any) -> None:
    one, two = scripted(PLAN), scripted(TimingPlan(rounds=9, runs=2, warmup=0, timeout_s=1))
    assert describe_series(one) == describe_series(two)
    assert describe_series(one) != describe_series(scripted(TimingPlan(runs=3)))
    assert describe_series(one) != describe_series(one, precision="int8")


LENT = {"name": "lent"}


def test_a_device_is_lent_to_one_process() -> None:
    name = f"test {os.getpid()}"
    code = f"from brpnas.devices.sweep import exclusive\nwith exclusive({{'name': {name!r}}}): pass"
    command = [sys.executable, "-c", code]
    with exclusive({"name": name}):
        held = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"in use by process {os.getpid()}" in held.stderr
        with exclusive({"name": "scripted", "serial": "another"}):
            pass
    subprocess.run(command, check=True)


def test_a_folder_of_locks_that_others_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"brpnas-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UserError, match=r"cannot be used: .*others .*TMPDIR"), exclusive(LENT):
        pass
    folder.chmod(0o700)
    with exclusive(LENT):
        (lock,) = folder.iterdir()
    lock.unlink()
    lock.symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=r"cannot be used: Too many .*links"), exclusive(LENT):
        pass
    assert not (tmp_path / "mine").exists()
    lock.unlink()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot be used"), exclusive(LENT):
        pass
