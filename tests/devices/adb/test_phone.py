from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from emulated_phone import EmulatedPhone

from brpnas.devices.adb import Phone
from brpnas.devices.adb import phone as phone_module
from brpnas.devices.adb.direct import TcpTransport
from brpnas.devices.adb.scripts import RUN, RUN_APK
from brpnas.devices.litert import DeviceLostError, ModelError
from brpnas.devices.profile import Profile
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.timing import Round, TimingPlan
from brpnas.errors import UserError
from brpnas.testing import LiteRTDeviceContract

MakePhone = Callable[..., Phone]


class TestContract(LiteRTDeviceContract):
    """The phone's, over a real link to the emulated one."""

    @pytest.fixture(autouse=True)
    def _connected(self, emulated: EmulatedPhone) -> None:
        self._emulated = emulated

    def device(self, plan: TimingPlan) -> Phone:
        link = TcpTransport("127.0.0.1", self._emulated.daemon.port)
        link.reconnect()
        return Phone(link, self._emulated.profile(), plan)


def nothing_said(line: str) -> None:
    pytest.fail(line)


def test_identity(phone: MakePhone, emulated: EmulatedPhone) -> None:
    program = (emulated.root / "bin/benchmark_model").read_bytes()
    assert phone(threads=2).identity() == {
        "name": "emulated",
        "serial": "EMU0001",
        "model": "Emulated",
        "fingerprint": "brand/emulated/1:14/AAA.1/1:user/release-keys",
        "soc": "SM0000",
        "abi": "arm64-v8a",
        "program_sha256": hashlib.sha256(program).hexdigest(),
        "runner": "binary",
        "cpu_mask": "70",
        "threads": "2",
        "delegate": "cpu",
        "delegate_flags": "",
    }


def test_a_round(phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel) -> None:
    found = phone(runs=4, warmup=2).time(model)
    samples = {name: value for name, (value,) in found.samples.items()}
    assert samples["count"] == 4
    assert 0 < samples["min_ms"] <= samples["mean_ms"] <= samples["max_ms"] < 100
    assert samples["init_ms"] == 0.545
    assert found.conditions["battery_celsius_before"] == 25.1
    assert found.conditions["battery_pct_after"] == 80
    assert "screen" not in found.conditions  # too slow to be asked for in every round
    graph = f"{emulated.folder}/{model.sha256}.tflite"
    assert emulated.runs == [
        [
            f"--graph={graph}",
            "--num_threads=1",
            "--num_runs=4",
            "--warmup_runs=2",
            "--min_secs=0",
            "--warmup_min_secs=0",
        ]
    ]
    assert (emulated.root / "masks").read_text() == "70\n"
    assert not list(emulated.root.rglob("pwned"))


def test_without_warmup_and_mask(
    emulated: EmulatedPhone, transport: Any, model: TFLiteModel
) -> None:
    profile = emulated.profile()
    plain = Profile("plain", "", "adb", adb=profile.adb)
    device = Phone(transport, plain, TimingPlan(runs=1, warmup=0))
    assert device.time(model).samples["count"] == (1,)
    assert not (emulated.root / "masks").exists()
    assert device.identity()["cpu_mask"] == ""


def test_a_model_is_pushed_once(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = phone()
    for _ in range(3):
        device.time(model)
    device.time(TFLiteModel("another name", model.content, "test"))
    assert emulated.models == [f"{model.sha256}.tflite"]
    assert emulated.daemon.log.count("sync:") == 1
    phone().time(model)  # neither by another process
    assert emulated.daemon.log.count("sync:") == 1


@pytest.mark.parametrize("content", [b"short", None])
def test_a_file_on_the_phone_that_is_not_the_model_is_replaced(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel, content: bytes | None
) -> None:
    phone().time(model)
    file = emulated.folder / f"{model.sha256}.tflite"
    file.write_bytes(bytes(len(model.content)) if content is None else content)
    phone().time(model)
    assert file.read_bytes() == model.content


def test_overhead_of_the_link(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = phone()
    device.time(model)
    overheads = []
    for _ in range(10):
        before, began = emulated.inference_s, time.perf_counter()
        device.wait_until_fit(nothing_said)
        device.time(model)
        overheads.append(time.perf_counter() - began - (emulated.inference_s - before))
    assert statistics.median(overheads) < 0.5  # a pause, or a wait for an answer, would be more


def test_the_commands_fit_into_the_oldest_adbs_packet(
    phone: MakePhone, emulated: EmulatedPhone, transport: Any, model: TFLiteModel
) -> None:
    phone().time(model)
    emulated.write("base.apk", "the app")
    profile = replace(emulated.profile(runner="apk"), cpu_mask=None)
    Phone(transport, profile, TimingPlan()).time(model)
    sent = emulated.daemon.log
    assert all(any(script.splitlines()[3] in one for one in sent) for script in (RUN, RUN_APK))
    assert max(map(len, sent)) < 4096


def rounds() -> list[Round]:
    return [
        Round({"min_ms": (2.0,), "mean_ms": (3.0,), "std_ms": (0.5,), "count": (10.0,)}),
        Round({"min_ms": (1.5,), "mean_ms": (9.0,), "std_ms": (2.0,), "count": (30.0,)}),
    ]


def test_summary(phone: MakePhone) -> None:
    device = phone()
    found = device.summarise(rounds())
    assert math.isnan(found.pop("latency_ms_wall_median"))
    assert found == {
        "latency_ms": 1.5,
        "latency_ms_min": 1.5,
        "latency_ms_std": pytest.approx(math.sqrt((10 * (0.25 + 4.5**2) + 30 * (4 + 1.5**2)) / 40)),
        "latency_ms_wall_mean": 7.5,
        "n_samples": 40,
    }
    assert device.samples(rounds()) == [2.0, 1.5]
    told = [Round({**one.samples, "median_ms": (4.0 + n,)}) for n, one in enumerate(rounds())]
    assert device.summarise(told)["latency_ms_wall_median"] == 4.5
    single = Round({"min_ms": (2.0,), "mean_ms": (2.0,), "count": (1.0,)})
    assert device.summarise([single])["latency_ms_std"] == 0
    assert set(device.notes) <= set(device.summarise(told))


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("garbage", "gave no figure"),
        ("crash", "failed: killed by signal 11"),
        ("short", "stopped after 2 of 3 runs"),
        ("partial", "GPU ran only 5 of 7 nodes of the model, the CPU the rest"),
        ("nothing", "GPU ran nothing of the model, the CPU all: WARN: GPU acceleration is unsup"),
    ],
)
def test_runs_that_are_no_measurement(
    phone: MakePhone,
    emulated: EmulatedPhone,
    model: TFLiteModel,
    behaviour: str,
    reason: str,
) -> None:
    device = phone(delegate="gpu")
    emulated.delegates = {"--use_gpu"}
    emulated.benchmark = behaviour
    with pytest.raises(ModelError) as error:
        device.time(model)
    assert reason in str(error.value)
    emulated.benchmark = "ok"
    assert device.time(model).samples["count"] == (3,)


def test_a_delegate_that_is_not_compiled_in(phone: MakePhone, model: TFLiteModel) -> None:
    with pytest.raises(ModelError, match="does not know the flags --use_gpu=true"):
        phone(delegate="gpu").time(model)


def test_a_model_that_the_runtime_rejects(phone: MakePhone) -> None:
    with pytest.raises(ModelError, match=r"'broken': .*not a valid Flatbuffer"):
        phone().time(TFLiteModel("broken", b"no flatbuffer", "test"))


def test_a_model_that_hangs_is_stopped(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = phone(timeout_s=1)
    emulated.benchmark = "hang"
    with pytest.raises(ModelError, match="took more than 1 s"):
        device.time(model)
    emulated.benchmark = "ok"
    assert device.time(model).samples["count"] == (3,)


def test_a_round_has_what_was_last_seen_of_screen_and_heat(
    phone: MakePhone, model: TFLiteModel
) -> None:
    device = phone()
    device.wait_until_fit(nothing_said)
    conditions = device.time(model).conditions
    assert (conditions["screen"], conditions["thermal_status"]) == ("Awake", 0.0)


def test_a_model_that_arrives_changed_is_not_run(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = phone()
    emulated.faults.change_push = True
    with pytest.raises(DeviceLostError, match="arrived changed"):
        device.time(model)
    assert not emulated.runs
    assert not emulated.models
    device.reconnect()
    assert device.time(model).samples["count"] == (3,)


def test_a_folder_that_cannot_be_made(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    emulated.write("a_file", "")
    device = phone({"folder": f"{emulated.root}/a_file/models"})
    with pytest.raises(UserError, match=r"cannot be written .*Not a directory.*adb.folder"):
        device.time(model)


def test_another_phone_than_the_profiles(phone: MakePhone) -> None:
    with pytest.raises(UserError, match="is a 'Emulated', profile 'emulated' is for: Pixel 4"):
        phone({"models": ("Pixel 4",)})


@pytest.mark.parametrize("mode", [None, 0o644])
def test_no_program(phone: MakePhone, emulated: EmulatedPhone, mode: int | None) -> None:
    program = emulated.root / "bin/benchmark_model"
    program.unlink() if mode is None else program.chmod(mode)
    if mode is not None and program.stat().st_mode & 0o111:
        pytest.skip("root may run all")
    with pytest.raises(UserError, match=r"no program .*benchmark_model that may be run"):
        phone()


def test_a_program_that_vanishes_stops_the_sweep(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = phone()
    (emulated.root / "bin/benchmark_model").unlink()
    with pytest.raises(UserError, match="cannot be run") as error:
        device.time(model)
    assert not isinstance(error.value, ModelError)


def test_a_program_of_this_machine_is_put_on_the_phone_once(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel, tmp_path: Path
) -> None:
    own = emulated.root / "bin/benchmark_model"
    mine = own.rename(tmp_path / "mine")
    for _ in range(2):
        device = phone({"push_binary": mine})
        before = len(emulated.daemon.log)
        device.reconnect()
        assert "sync:" not in emulated.daemon.log[before:]  # only while it is in use
        assert device.time(model).samples["count"] == (3,)
    pushed = [name for name in emulated.models if name.startswith("benchmark_model-")]
    assert len(pushed) == 1
    assert device.identity()["program_sha256"].startswith(pushed[0][-16:])
    assert emulated.daemon.log.count("sync:") == 2  # program and model


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ({"delegate": "dsp"}, "has no delegate 'dsp'; accepted: cpu, gpu"),
        ({"threads": 4}, "4 threads on the 3 cores of mask 70"),
    ],
)
def test_plans_that_the_phone_cannot_keep(
    phone: MakePhone, plan: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        phone(**plan)


def test_a_hot_phone_is_waited_for(phone: MakePhone, emulated: EmulatedPhone) -> None:
    device = phone()
    emulated.write("services/battery", "  level: 80\n  temperature: 433\n")

    def cool(_: float) -> None:
        emulated.write("services/battery", "  level: 79\n  temperature: 390\n")

    said: list[str] = []
    conditions = device.wait_until_fit(said.append, cool)
    assert len(said) == 1
    assert "its battery has 43.3 °C, above 40" in said[0]
    assert conditions["battery_celsius"] == 39.0
    assert conditions["screen"] == "Awake"


def test_a_phone_that_stays_hot(
    phone: MakePhone, emulated: EmulatedPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = phone()
    emulated.write("services/thermalservice", "Thermal Status: 3\n")
    monkeypatch.setattr(phone_module, "_POLL_S", 0.4)
    with pytest.raises(UserError, match=r"still too hot after 1 s: .*thermal status 3"):
        device.wait_until_fit([].append)


def test_heat_is_looked_at_again_once_a_round_saw_it(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = phone()
    assert device.wait_until_fit(nothing_said)["battery_celsius"] == 25.1
    emulated.write("services/battery", "  temperature: 300\n")
    device.time(model)
    assert device.wait_until_fit(nothing_said)["battery_celsius"] == 25.1  # a moment ago
    emulated.write("services/battery", "  temperature: 500\n")
    device.time(model)
    emulated.write("services/battery", "  temperature: 301\n")
    assert device.wait_until_fit(nothing_said)["battery_celsius"] == 30.1


@pytest.mark.parametrize("installed", [True, False])
def test_the_benchmark_app(
    emulated: EmulatedPhone, transport: Any, model: TFLiteModel, installed: bool
) -> None:
    profile = emulated.profile(runner="apk")
    plain = Profile("app", "", "adb", adb=profile.adb)
    if not installed:
        with pytest.raises(UserError, match="no TFLite benchmark app"):
            Phone(transport, plain, TimingPlan())
        return
    emulated.write("base.apk", "the app")
    device = Phone(transport, plain, TimingPlan(runs=3, warmup=1, timeout_s=5))
    assert device.identity()["program_sha256"] == hashlib.sha256(b"the app").hexdigest()
    assert device.time(model).samples["count"] == (3,)
    with pytest.raises(ModelError, match=r"valid Flatbuffer|Failed to load"):
        device.time(TFLiteModel("broken", b"no flatbuffer", "test"))
    emulated.benchmark = "hang"
    with pytest.raises(ModelError, match="took more than"):
        Phone(transport, plain, TimingPlan(timeout_s=1)).time(model)
    (emulated.root / "base.apk").unlink()
    with pytest.raises(ModelError, match="Activity class"):
        device.time(model)


@pytest.fixture
def app(emulated: EmulatedPhone, transport: Any) -> Callable[..., Phone]:
    """A phone with the benchmark app."""
    emulated.write("base.apk", "the app")
    profile = Profile("app", "", "adb", adb=emulated.profile(runner="apk").adb)
    return lambda **plan: Phone(transport, profile, TimingPlan(runs=3, warmup=1, **plan))


def test_a_figure_that_an_earlier_run_of_the_app_left_in_the_log(
    app: Callable[..., Phone], emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = app(timeout_s=1)
    emulated.write("keeps_log", "")
    device.time(model)
    emulated.benchmark = "hang"
    with pytest.raises(ModelError, match="took more than"):
        device.time(model)


def test_a_log_that_can_be_cleared_needs_no_mark(
    app: Callable[..., Phone], emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    device = app()
    emulated.write("bin/log", "#!/bin/sh\n", 0o755)
    assert device.time(model).samples["count"] == (3,)
    emulated.write("keeps_log", "")
    with pytest.raises(ModelError, match="log can be neither cleared nor marked"):
        device.time(model)


def test_a_linux_machine_that_runs_adbd(
    phone: MakePhone, emulated: EmulatedPhone, model: TFLiteModel
) -> None:
    (emulated.root / "bin/getprop").unlink()
    (emulated.root / "bin/dumpsys").unlink()
    device = phone({"models": ()})
    found = device.identity()
    assert found["serial"]
    assert found["fingerprint"].startswith("Linux")
    assert device.time(model).conditions["battery_celsius_before"] is None
    device.reconnect()


def test_close(phone: MakePhone, model: TFLiteModel) -> None:
    with phone() as device:
        device.time(model)
    with pytest.raises(DeviceLostError, match="closed"):
        device.time(model)
