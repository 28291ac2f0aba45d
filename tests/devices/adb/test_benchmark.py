from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from brpnas.devices.adb.benchmark import (
    apk_output,
    benchmark_flags,
    known_flags,
    parse_benchmark,
)
from brpnas.devices.litert import ModelError
from brpnas.devices.timing import TimingPlan

STAGE = "INFO: Running benchmark for at least 1 iterations and at least 0 seconds\n"
TIMINGS = "INFO: Inference timings in us: Init: 545, First inference: 9, Warmup (avg): 9, "
GPU = ("--use_gpu=true",)


def output(count: str, mean: str, more: str = "") -> str:
    """What a run prints that ends well."""
    warm = f"{STAGE}INFO: count=1 curr=9000\n\n"
    return f"{more}{warm}{STAGE}INFO: count={count}\n\n{TIMINGS}Inference (avg): {mean}\n"


GOOD = output("3 first=4 curr=2 min=2 max=4 avg=3 std=1", "3")


def transcript(shared: Path, name: str) -> tuple[int, str]:
    path = shared / "fixtures" / "benchmark_model" / f"benchmark_model_2.14.1_{name}.txt"
    if not path.is_file():
        pytest.skip(f"real data: no {path}")
    text, _, code = path.read_text().rpartition("__rc=")
    return int(code), text


@pytest.mark.parametrize(
    ("name", "smallest", "mean", "count", "init"),
    [
        ("plain", 3.029, 7.04462, 142, 11.276),
        ("mem", 3.087, 6.95003, 145, 0.617),
        ("maxsecs", 2.874, 5.80398, 52, 0.545),
        ("profile", 3.002, 6.83161, 145, 0.589),
        ("profile_csv", 3.101, 7.1922, 137, 0.569),
    ],
)
def test_real_transcripts(
    shared: Path, name: str, smallest: float, mean: float, count: int, init: float
) -> None:
    found = parse_benchmark(*transcript(shared, name))
    assert found["min_ms"] == smallest
    assert math.isclose(found["mean_ms"], mean, rel_tol=1e-4)
    assert (found["count"], found["init_ms"]) == (count, init)
    assert found["min_ms"] <= found["first_ms"] <= found["max_ms"]
    assert found["std_ms"] > 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bad", "The model is not a valid Flatbuffer buffer"),
        ("missing", "Could not open '/data/local/tmp/nope.tflite'."),
        ("nograph", "Please specify the name of your TF Lite input file"),
        ("unknown", "does not know the flags --cpu_mask=f0 --use_gpu=true"),
        ("help", "Benchmarking failed"),
    ],
)
def test_real_transcripts_of_failures(shared: Path, name: str, reason: str) -> None:
    with pytest.raises(ModelError) as error:
        parse_benchmark(*transcript(shared, name))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_flags_are_read_from_the_real_help(shared: Path) -> None:
    flags = known_flags(transcript(shared, "help")[1])
    assert {"--graph", "--num_threads", "--warmup_min_secs", "--require_full_delegation"} < flags
    assert not {"--use_gpu", "--max-secs", "--use_hexagon"} & flags
    plan = TimingPlan(runs=7, warmup=2, threads=3, timeout_s=600)
    asked = {flag.partition("=")[0] for flag in benchmark_flags("/m.tflite", plan, ())}
    assert asked <= flags


def test_flags_of_a_run() -> None:
    assert benchmark_flags("/m.tflite", TimingPlan(runs=7, warmup=2, threads=3), GPU) == [
        "--graph=/m.tflite",
        "--num_threads=3",
        "--num_runs=7",
        "--warmup_runs=2",
        "--min_secs=0",
        "--warmup_min_secs=0",
        "--use_gpu=true",
    ]


def test_a_long_round_is_not_cut_short() -> None:
    flags = benchmark_flags("/m.tflite", TimingPlan(timeout_s=600.5), ())
    assert "--max_secs=601" in flags


def test_fewer_runs_than_asked_for_are_no_measurement() -> None:
    assert parse_benchmark(0, GOOD, runs=3)["count"] == 3
    with pytest.raises(ModelError, match="stopped after 3 of 4 runs"):
        parse_benchmark(0, GOOD, runs=4)


@pytest.mark.parametrize(
    ("count", "mean", "expected"),
    [
        ("1 curr=2500", "2500", {"min_ms": 2.5, "max_ms": 2.5, "mean_ms": 2.5, "count": 1}),
        ("4 curr=2500(all same)", "2500", {"min_ms": 2.5, "count": 4, "std_ms": 0}),
        (
            "50 first=1.2e+06 curr=9 min=9.5e+05 max=1.2e+06 avg=1.01e+06 std=2e+04",
            "1.01e+06",
            {"min_ms": 950, "max_ms": 1200, "mean_ms": 1010, "std_ms": 20},
        ),
        (
            "3 first=4 curr=2 min=2 max=4 avg=3 std=1 p5=2 median=3.5 p95=4",
            "3",
            {"median_ms": 0.0035, "p5_ms": 0.002, "p95_ms": 0.004},
        ),
    ],
)
def test_forms_of_the_result(count: str, mean: str, expected: dict[str, float]) -> None:
    found = parse_benchmark(0, output(count, mean))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_a_single_run_has_no_deviation() -> None:
    assert "std_ms" not in parse_benchmark(0, output("1 curr=2500", "2500"))


def test_old_builds_and_the_app_leave_out_the_level() -> None:
    assert parse_benchmark(0, GOOD.replace("INFO: ", "")) == parse_benchmark(0, GOOD)
    old = GOOD.replace("INFO: Inference timings", "INFO: Average inference timings")
    assert parse_benchmark(0, old.replace("Inference (avg)", "Inference"))["mean_ms"] == 0.003


def test_windows_line_ends_and_errors_in_between_change_nothing() -> None:
    noisy = GOOD.replace("\n", "\r\nERROR: of no importance\r\n")
    assert parse_benchmark(0, noisy) == parse_benchmark(0, GOOD)


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (0, "", "no output"),
        (0, "\x00\x1bcount=7 curr=9\n", "no figure"),
        (0, f"{STAGE}INFO: count=5 first=1 curr=1 min=1 max=1 avg=1 std=0\n", "no figure"),
        (0, f"{STAGE}INFO: count=1 curr=9\n{TIMINGS}Inference (avg): 9\n", "no figure"),
        (0, GOOD.replace(TIMINGS, "INFO: "), "no figure"),
        (0, output("0", "nan"), "no latency"),
        (0, output("1 curr=0", "0"), "no latency"),
        (0, output("2 first=1 curr=1 min=nan max=nan avg=nan std=nan", "nan"), "no latency"),
        (0, output("3 first=4 curr=2 min=2 max=4 avg=3 std=1", "9000"), "contradicts itself"),
        (1, GOOD, "exit status 1"),
        (139, GOOD, "killed by signal 11"),
        (1, "ERROR: Encountered unresolved custom op: Foo.\nERROR: Benchmarking failed.", "Foo"),
        (0, f"WARN: Unconsumed cmdline flags: --use_gpu=true\n{GOOD}", "--use_gpu=true"),
    ],
)
def test_what_is_no_measurement(code: int, text: str, reason: str) -> None:
    with pytest.raises(ModelError) as error:
        parse_benchmark(code, text)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def says(name: str, how: str) -> str:
    return f"INFO: Explicitly applied {name} delegate, and the model graph will be {how}.\n"


WHOLE = "completely executed by the delegate"
PART = "partially executed by the delegate w/ 2 delegate kernels"
REPLACED = "VERBOSE: Replacing 5 out of 7 node(s) with delegate (TfLiteGpuDelegateV2) node\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (GPU, says("GPU", WHOLE)),
        (("--use_hexagon=true", "--hexagon_lib_path=/data/local/tmp"), says("Hexagon", WHOLE)),
        (("--external_delegate_path=/x.so",), says("EXTERNAL", WHOLE)),
        (("--some_new_delegate=true",), says("Whatever", WHOLE)),
    ],
)
def test_a_delegate_that_ran_all(flags: tuple[str, ...], said: str) -> None:
    assert parse_benchmark(0, said + GOOD, flags)["min_ms"] == 0.002


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "GPU ran nothing"),
        (says("GPU", PART), "GPU ran only 2 parts"),
        (REPLACED + says("GPU", PART), "GPU ran only 5 of 7 nodes"),
        (
            "INFO: Though GPU delegate is explicitly applied, the model graph will not be\n",
            "GPU ran nothing",
        ),
        (
            "GPU acceleration is unsupported on this platform.\n" + says("XNNPACK", WHOLE),
            "GPU ran nothing of the model, the CPU all: GPU acceleration is unsupported",
        ),
    ],
)
def test_a_delegate_that_did_not_run_all(said: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        parse_benchmark(0, said + GOOD, GPU)


@pytest.mark.parametrize("prefix", ["{0}/tflite  : ", "{0}/tflite  ( 1234): ", "{0}/tflite: "])
def test_lines_of_the_log_read_as_those_of_the_binary(prefix: str) -> None:
    def logged(text: str) -> str:
        levels = {"INFO": "I", "WARN": "W", "ERROR": "E"}
        lines = [line.partition(": ") for line in text.splitlines() if line]
        return "\n".join(prefix.format(levels[level]) + rest for level, _, rest in lines)

    noise = "--------- beginning of main\nI/other  : count=1 curr=1\n"
    assert parse_benchmark(0, apk_output(noise + logged(GOOD))) == parse_benchmark(0, GOOD)
    with pytest.raises(ModelError, match="valid Flatbuffer"):
        parse_benchmark(1, apk_output(logged("ERROR: not a valid Flatbuffer")))


def test_flags_of_help_are_those_of_the_emulated_program(emulated: Any) -> None:
    code, text = emulated._benchmark("benchmark_model", ["--help"])
    assert code == 1
    assert {"--graph", "--num_threads", "--min_secs"} < known_flags(text)
