from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from emulated_phone import EmulatedPhone

from brpnas.devices.adb import Phone, folder
from brpnas.devices.litert import ModelError
from brpnas.devices.store import Store
from brpnas.devices.sweep import Sweep, describe_series
from brpnas.devices.tflite import TFLiteModel
from brpnas.errors import UserError
from brpnas.executors import InProcess

MakePhone = Callable[..., Phone]


@pytest.fixture
def large(model: TFLiteModel) -> list[TFLiteModel]:
    """Models of a megabyte each."""
    padding = bytes(1_000_000 - len(model.content) - 1)
    return [TFLiteModel(str(n), model.content + padding + bytes([n]), "") for n in range(12)]


def present(emulated: EmulatedPhone, models: list[TFLiteModel]) -> list[str]:
    return [one.name for one in models if f"{one.sha256}.tflite" in emulated.models]


def test_models_that_were_unused_for_longest_make_room(
    phone: MakePhone,
    emulated: EmulatedPhone,
    large: list[TFLiteModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folder, "_KEPT_BYTES", 3_000_000)
    device = phone()
    for one in [*large[:3], large[0], large[3]]:
        device.time(one)
        time.sleep(0.02)
    assert present(emulated, large) == ["0", "2", "3"]
    assert device.time(large[1]).samples["count"] == (3,)  # comes back when it is needed
    assert present(emulated, large) == ["0", "1", "3"]


def test_warnings_between_what_the_phone_says_are_passed_over(
    phone: MakePhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = "WARNING: linker: /data/local/tmp/x has text relocations 12\n"
    monkeypatch.setattr(folder, "ROOM", folder.ROOM.replace("df -k", f"echo '{noise}'; df -k"))
    assert 0 < phone().room_bytes() < float("inf")


def test_a_sweep_of_more_than_the_phone_keeps_pushes_every_model_once(
    phone: MakePhone,
    emulated: EmulatedPhone,
    large: list[TFLiteModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folder, "_KEPT_BYTES", 4_500_000)
    device = phone(rounds=2, runs=1, warmup=0)
    with Store(tmp_path / "s.sqlite") as store:
        series = store.series(describe_series(device))
        sweep = Sweep(device, store, series, InProcess(), tmp_path / "made", lambda _: None)
        assert sweep.run([_Source(one) for one in large]).measured == len(large)
    assert emulated.daemon.log.count("sync:") == len(large)
    assert len(emulated.runs) == 2 * len(large)


class _Source:
    """A model that is made already."""

    def __init__(self, model: TFLiteModel) -> None:
        self.model, self.name, self.key = model, model.name, model.name

    def __call__(self) -> TFLiteModel:
        return self.model


def test_a_disk_that_is_smaller_than_what_could_be_kept(
    phone: MakePhone, emulated: EmulatedPhone, large: list[TFLiteModel]
) -> None:
    device = phone()
    emulated.limit_disk(folder._SPARE_BYTES + 2_500_000)
    assert device.room_bytes() == pytest.approx(2_500_000, abs=1024)
    for one in large[:3]:
        device.time(one)
        time.sleep(0.02)
    assert present(emulated, large) == ["1", "2"]
    assert device.room_bytes() == pytest.approx(2_500_000, abs=1024)


def test_a_model_that_is_too_large_fails_alone(
    phone: MakePhone, emulated: EmulatedPhone, large: list[TFLiteModel], model: TFLiteModel
) -> None:
    device = phone()
    emulated.limit_disk(folder._SPARE_BYTES + 2_500_000)
    device.time(large[0])
    huge = TFLiteModel("huge", model.content + bytes(3_000_000), "test")
    with pytest.raises(ModelError, match=r"'huge' is too large .*: 11 MB needed, 10 MB free"):
        device.time(huge)
    assert present(emulated, large) == ["0"]  # nothing was removed in vain
    assert device.time(large[1]).samples["count"] == (3,)


def test_a_full_disk(phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel) -> None:
    device = phone()
    emulated.write("free_kb", "5000")
    with pytest.raises(UserError, match="disk is full: 5 MB free") as error:
        device.time(model)
    assert not isinstance(error.value, ModelError)
    emulated.write("free_kb", "900000")
    emulated.faults.refuse_push = "No space left on device"
    with pytest.raises(UserError, match="No space left on device"):
        device.time(model)
    emulated.faults.refuse_push = ""
    assert device.time(model).samples["count"] == (3,)


def test_a_phone_that_another_machine_measures_on(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel, tmp_path: Path
) -> None:
    own = emulated.root / "bin/benchmark_model"
    device = phone({"push_binary": own.rename(tmp_path / "mine")})
    note = emulated.claim(100)
    for action in (
        lambda: device.wait_until_fit(pytest.fail),
        lambda: device.prepare(model),
        device.room_bytes,
    ):
        with pytest.raises(UserError, match=r"in use by user 7 of machine 'other'.*: (99|100) s"):
            action()
    device.close()
    assert note.read_text().startswith("7@other ")
    assert "sync:" not in emulated.daemon.log


@pytest.mark.parametrize("content", ["", "garbage", "7@other soon token\n", "7@other\n"])
def test_a_note_that_says_nothing_holds_nobody_up(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel, content: str
) -> None:
    emulated.claim(0).write_text(content)
    assert phone().time(model).samples["count"] == (3,)


def test_a_note_is_void_after_its_time_and_holds_against_nobody_of_this_machine(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    note = emulated.claim(0)
    killed = phone(timeout_s=20)
    killed.time(model)
    who, until, _ = note.read_text().split()
    assert who == f"{os.getuid()}@{platform.node()}"
    assert 600 < int(until) - time.time() < 621
    again = phone()
    again.time(model)
    killed.release()  # not its own any more
    assert note.exists()
    again.close()
    assert not note.exists()
