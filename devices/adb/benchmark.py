"""TFLite's ``benchmark_model``: how it is called, and what its output says.

Its output was taken from builds of TFLite 2.14; what it says of delegates, from the source of
``tensorflow/lite/tools/benchmark/benchmark_tflite_model.cc``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from brpnas.devices.litert import ModelError
from brpnas.devices.timing import TimingPlan
from brpnas.errors import one_line

__all__ = ["APK", "apk_output", "benchmark_flags", "known_flags", "parse_benchmark"]

APK = "org.tensorflow.lite.benchmark"
"""The package of TFLite's benchmark app."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf"
# The app and old builds leave out the level. Profiles have `Timings (microseconds): count=...`
# lines of their own, which is why it must stand at the beginning.
_COUNT = re.compile(r"(?:INFO: )?count=(\d+)\b(.*)")
_FIELD = re.compile(rf"(\w+)=({_NUMBER})")
_TIMINGS = re.compile(r"(?:INFO: )?(?:Average i|I)nference timings in us: (.*)")
_TIMING = re.compile(rf"(\w[\w ()]*?): ({_NUMBER})")
_STAGE = re.compile(r"(?:INFO: )?Running benchmark for at least")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags:(.*)")
_FULLY = re.compile(r"Explicitly applied (\S+) delegate,.*completely executed by the delegate")
_PARTLY = re.compile(r"Explicitly applied (\S+) delegate,.*partially executed.*w/ (\d+) delegate")
_NODES = re.compile(r"Replacing (\d+) out of (\d+) node")
_LOGCAT = re.compile(r"([VDIWEF])/tflite\s*(?:\(\s*\d+\))?: ?(.*)")
_LEVELS = {"W": "WARN: ", "E": "ERROR: ", "F": "ERROR: "}

# What TFLite calls the delegate that a flag asks for.
_DELEGATES = {
    "--use_gpu": "GPU",
    "--use_hexagon": "Hexagon",
    "--use_nnapi": "NNAPI",
    "--use_xnnpack": "XNNPACK",
    "--use_coreml": "COREML",
    "--external_delegate_path": "EXTERNAL",
}


def benchmark_flags(graph: str, plan: TimingPlan, delegate: Sequence[str]) -> list[str]:
    """Return the flags for one round of a model.

    Args:
        graph: path of the model on the phone.
        plan: how it is timed.
        delegate: flags that switch a delegate on.
    """
    # By default it stops counting after 150 seconds, however many runs are left.
    longer = [f"--max_secs={math.ceil(plan.timeout_s)}"] if plan.timeout_s > 150 else []
    return [
        f"--graph={graph}",
        f"--num_threads={plan.threads}",
        f"--num_runs={plan.runs}",
        f"--warmup_runs={plan.warmup}",
        # Their defaults of 1 and 0.5 seconds would override the numbers of runs.
        "--min_secs=0",
        "--warmup_min_secs=0",
        *longer,
        *delegate,
    ]


def known_flags(help_text: str) -> set[str]:
    """Return the flags that the output of ``benchmark_model --help`` lists."""
    return set(re.findall(r"^\s+(--\w+)=", help_text, re.MULTILINE))


def apk_output(logcat: str) -> str:
    """Turn lines of ``logcat -v tag`` (or brief) into what the binary would have printed."""
    matches = filter(None, map(_LOGCAT.match, logcat.splitlines()))
    return "\n".join(_LEVELS.get(match[1], "INFO: ") + match[2] for match in matches)


def parse_benchmark(
    code: int, text: str, delegate: Sequence[str] = (), runs: int = 1
) -> dict[str, float]:
    """Read the output of one run.

    Args:
        code: exit status.
        text: stdout and stderr, in any order.
        delegate: flags that switched a delegate on; it must have run the whole model.
        runs: how many it had to count at least.

    Returns:
        ``min_ms``, ``max_ms``, ``mean_ms``, ``first_ms``, ``count``, and where it tells
        ``std_ms``, ``median_ms``, ``p5_ms``, ``p95_ms``, ``init_ms``.

    Raises:
        ModelError: no such figure, or one that is not of what was asked for.
    """
    lines = [line.strip() for line in text.splitlines()]
    if match := _UNCONSUMED.search(text):
        # It runs all the same, on the CPU: a plausible figure of something else.
        raise ModelError(
            f"this build of benchmark_model does not know the flags {one_line(match[1])}: take "
            "one with that delegate, or another delegate"
        )
    if code != 0:
        raise ModelError(f"benchmark_model failed: {_reason(lines, code)}")
    figures = _figures(lines)
    if figures["count"] < runs:
        raise ModelError(
            f"benchmark_model stopped after {figures['count']:g} of {runs} runs: ask for fewer "
            "(--runs)"
        )
    if delegate:
        _check_delegate(text, delegate)
    return figures


def _figures(lines: Sequence[str]) -> dict[str, float]:
    stages = [number for number, line in enumerate(lines) if _STAGE.match(line)]
    # The first stage is the warm-up. Where the output stops after it, there is no figure.
    start = stages[-1] if len(stages) >= 2 else len(lines)
    counts = [match for line in lines[start:] if (match := _COUNT.match(line))]
    timings = [match for line in lines if (match := _TIMINGS.match(line))]
    if not counts or not timings:
        raise ModelError(f"benchmark_model gave no figure: {_reason(lines, 0)}")
    fields = {name: float(value) for name, value in _FIELD.findall(counts[-1][2])}
    named = {name: float(value) for name, value in _TIMING.findall(timings[-1][1])}
    if "min" not in fields and "curr" in fields:  # a single run, or all took the same time
        only = fields["curr"]
        fields = {"min": only, "max": only, "avg": only, "first": only}
        if int(counts[-1][1]) > 1:
            fields["std"] = 0.0
    mean = named.get("Inference (avg)", named.get("Inference", math.nan))
    needed = [fields.get(name, math.nan) for name in ("min", "avg", "max")]
    if int(counts[-1][1]) < 1 or not 0 < needed[0] <= needed[2] or not all(map(_real, needed)):
        raise ModelError(f"benchmark_model gave no latency: {one_line(counts[-1][0])}")
    # Both come from the same runs, with 6 digits; where they differ a line is missing.
    if not math.isclose(mean, needed[1], rel_tol=1e-3):
        raise ModelError(
            f"benchmark_model contradicts itself: '{one_line(counts[-1][0])}' and "
            f"'{one_line(timings[-1][0])}'"
        )
    names = ("min", "max", "first", "std", "median", "p5", "p95")
    figures = {f"{name}_ms": fields[name] / 1e3 for name in names if name in fields}
    figures |= {"mean_ms": fields["avg"] / 1e3, "count": float(counts[-1][1])}
    if "Init" in named:
        figures["init_ms"] = named["Init"] / 1e3
    return figures


def _real(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _check_delegate(text: str, delegate: Sequence[str]) -> None:
    """Check that the delegate that was asked for ran the whole model."""
    names = [_DELEGATES[key] for flag in delegate if (key := flag.partition("=")[0]) in _DELEGATES]
    wanted = names[0] if names else "delegate"

    def is_it(match: re.Match[str]) -> bool:
        # Where a delegate cannot be made, another (XNNPACK) may say the same of itself.
        return not names or match[1].lower() == wanted.lower()

    if any(map(is_it, _FULLY.finditer(text))):
        return
    for match in filter(is_it, _PARTLY.finditer(text)):
        nodes = _NODES.findall(text)
        share = "{} of {} nodes".format(*nodes[-1]) if nodes else f"{match[2]} parts"
        raise ModelError(f"{wanted} ran only {share} of the model, the CPU the rest")
    complaints = [line for line in text.splitlines() if "unsupported" in line.lower()]
    detail = f": {one_line(complaints[0])}" if complaints else ""
    raise ModelError(f"{wanted} ran nothing of the model, the CPU all{detail}")


def _reason(lines: Sequence[str], code: int) -> str:
    """Return the line that says why there is no result."""
    errors = [line for line in lines if line.startswith("ERROR: ") and "usage:" not in line]
    # The last one only says that it failed.
    telling = [line for line in errors if "Benchmarking failed" not in line] or errors
    if telling:
        return one_line(telling[0].removeprefix("ERROR: "))
    spoken = [line for line in lines if line]
    last = one_line(spoken[-1]) if spoken else "no output"
    signal = f"killed by signal {code - 128}; " if 128 < code < 160 else ""
    return f"{signal}exit status {code}, last line: {last}" if code else f"last line: {last}"
