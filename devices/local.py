"""This machine, through its TFLite runtime."""

from __future__ import annotations

import functools
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from brpnas.devices.litert import LiteRTDevice, ModelError
from brpnas.devices.profile import read_profile
from brpnas.devices.reference import REFERENCE
from brpnas.devices.runtime import find_runtime
from brpnas.devices.sandbox import Sandbox
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.writer import MAKER
from brpnas.devices.timing import Round, TimingPlan
from brpnas.devices.trial import fill_inputs
from brpnas.errors import UserError, one_line
from brpnas.executors import usable_cores

__all__ = ["LocalDevice", "read_sysfs"]

# A share of a core below which the machine is too busy. CPU time forgives much: two other busy
# processes on two cores leave two thirds, and the figures stay within 2%.
_ENOUGH = {"cpu_ms": 0.5, "wall_ms": 0.9}
# The reference network may run so much slower than it ever did in this process.
_SLOWDOWN = 1.5
_CHECK_EVERY_S = 5.0
_WINDOW_S = 0.05
_PATIENCE_S = 120.0
# Of the reference network just before and just after each round; the fastest counts.
_PACE_RUNS = 5
# Of a series' rounds, taken by the time of the reference network, this share goes undisturbed...
_UNDISTURBED = 0.1
# ... and a pace that differs from theirs by no more is theirs.
_FULL_PACE = 0.05


class LocalDevice(LiteRTDevice):
    """Times models on this machine.

    With one thread the headline comes of the running thread's CPU time, which other programs
    disturb least. They still slow it down, and so do other virtual machines of the same host, for
    minutes and to half the speed. So a reference network runs just before and after each round: how
    much longer it takes than where the series went undisturbed is the round's pace. The headline is
    the least time of the rounds at full pace; of a model that has none, the median over the rounds
    of the least time divided by the pace. With more threads CPU time says nothing, and the headline
    is the minimum of the wall time.

    A model that brpnas did not write may crash the runtime, and this process with it, or never end.
    So it runs once in a process of its own before it is timed, and has the plan's ``timeout_s`` for
    that; models of brpnas's own have no limit.

    Args:
        plan: how models are timed.

    Raises:
        UserError: no TFLite runtime, or another delegate than ``cpu``.
    """

    def __init__(self, plan: TimingPlan) -> None:
        read_profile("local").check(plan)
        self.plan = plan
        self._runtime = find_runtime()
        module = self._runtime.interpreter.__module__
        self._sandbox = Sandbox(module, plan.threads, plan.timeout_s)
        self._clock = "cpu_ms" if plan.threads == 1 else "wall_ms"
        clock = "CPU time of the running thread" if plan.threads == 1 else "wall time"
        self.notes = {
            "latency_ms": (
                f"least {clock}, in rounds at full pace; if none, the rounds' median at that pace"
                if plan.threads == 1
                else f"minimum of the {clock}"
            ),
            "latency_ms_min": f"minimum of the {clock}",
            "latency_ms_std": f"standard deviation of the {clock}",
        }
        self._trusted: set[str] = set()
        self._checked = -_CHECK_EVERY_S
        self._fastest = self._typical = np.inf
        self._conditions: Mapping[str, str | float | None] = {}

    def identity(self) -> Mapping[str, str]:
        """Return processor, cores, system and runtime."""
        return {
            "name": "local",
            "cpu": _cpu_name(),
            "cores": _cores(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "runtime": f"{self._runtime.package} {self._runtime.version}",
            "runtime_sha256": self._runtime.sha256,
        }

    def time(self, model: TFLiteModel) -> Round:
        """Run one round of a model.

        Raises:
            ModelError: the runtime rejects the model, or fails or crashes or hangs when it runs it.
        """
        self._try(model)
        try:
            interpreter = self._runtime.load(model.content, self.plan.threads)
            fill_inputs(interpreter)
            before = self._reference_ms()
            for _ in range(self.plan.warmup):
                interpreter.invoke()
            samples = _time(interpreter.invoke, self.plan.runs)
            after = self._reference_ms()
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ModelError(f"the runtime cannot run '{model.name}': {one_line(error)}") from None
        if before is None or after is None:
            return Round(samples, self._conditions)
        return Round(samples, {**self._conditions, "reference_ms": round((before + after) / 2, 5)})

    def _reference_ms(self) -> float | None:
        """Return the least CPU time that the reference network needs now, where CPU time counts."""
        if self._clock != "cpu_ms":
            return None
        return min(_time(_reference(0).invoke, _PACE_RUNS)["cpu_ms"])

    def _try(self, model: TFLiteModel) -> None:
        if model.maker == MAKER or model.sha256 in self._trusted:
            return
        if reason := self._sandbox.try_once(model.content):
            raise ModelError(f"the runtime cannot run '{model.name}': it {reason}")
        self._trusted.add(model.sha256)

    def usual(self, rounds: Iterable[Round]) -> float | None:
        """Return the time of the reference network where nothing disturbs it, in ms."""
        known = [float(one.conditions.get("reference_ms") or np.nan) for one in rounds]
        return None if np.isnan(known).all() else float(np.nanquantile(known, _UNDISTURBED))

    def summarise(self, rounds: Sequence[Round], usual: float | None = None) -> dict[str, float]:
        """Reduce rounds to columns: headline, minimum and deviation are of the headline's clock."""
        counted = self.samples(rounds)
        wall = [value for one in rounds for value in one.samples["wall_ms"]]
        return {
            "latency_ms": _headline(rounds, usual or self.usual(rounds))
            if self._clock == "cpu_ms"
            else min(counted),
            "latency_ms_min": min(counted),
            "latency_ms_std": statistics.pstdev(counted),
            "latency_ms_wall_median": statistics.median(wall),
            "latency_ms_wall_min": min(wall),
            "n_samples": len(counted),
        }

    def samples(self, rounds: Sequence[Round]) -> list[float]:
        """Return every run's time by the headline's clock."""
        return [value for one in rounds for value in one.samples[self._clock]]

    def wait_until_fit(
        self, say: Callable[[str], None], pause: Callable[[float], object] = sleep
    ) -> Mapping[str, str | float | None]:
        """Wait while a reference network gets too little of a core, or runs far too slowly.

        Where its pace is noted with each round, a machine that stays slow is put up with.
        """
        if time.monotonic() - self._checked < _CHECK_EVERY_S:
            return self._conditions
        given_up = time.monotonic() + _PATIENCE_S
        said = False
        while reason := self._too_little() or self._too_slow():
            if time.monotonic() > given_up:
                if self._clock == "cpu_ms" and not self._too_little():
                    say("it stays so; times are compared at the reference network's pace")
                    self._fastest = np.inf
                    break
                raise UserError(
                    f"this machine is too busy to measure on: {reason}; stop other programs, "
                    "then repeat the command with --resume"
                )
            if not said:
                say(
                    f"this machine is too busy: {reason}; waiting up to {_PATIENCE_S:g} s for "
                    "other programs to end"
                )
                said = True
            pause(1)
        self._checked = time.monotonic()
        return self._conditions

    def close(self) -> None:
        """End the process in which foreign models run first."""
        self._sandbox.close()

    def _too_little(self) -> str | None:
        """Run the reference network for a moment; return who gets too little, or None."""
        # A network for each core: the second thread of one network would have little to do.
        cores = range(min(self.plan.threads, usable_cores()))
        references = [_reference(number) for number in cores]
        with ThreadPoolExecutor(len(cores)) as pool:
            shares, runs = zip(*pool.map(_run_for_a_moment, references), strict=True)
        share = min(shares)
        self._typical = statistics.median(itertools.chain.from_iterable(runs))
        self._conditions = {
            "share_of_core": round(share, 3),
            "load": round(os.getloadavg()[0], 2),
            **_cpu_state(),
        }
        enough = _ENOUGH[self._clock]
        if share >= enough:
            return None
        one = "a program" if len(cores) == 1 else f"one of {len(cores)} threads"
        return f"{one} gets {share:.0%} of a core, {enough:.0%} are needed"

    def _too_slow(self) -> str | None:
        """Compare how long the reference network took with the least so far."""
        self._fastest = min(self._fastest, self._typical)
        slower = self._typical / self._fastest
        if slower <= _SLOWDOWN:
            return None
        return f"a reference network takes {slower:.1f} times as long as it did"


def _time(invoke: Callable[[], object], runs: int) -> dict[str, tuple[float, ...]]:
    """Call a function some times; return CPU time of this thread and wall time of each call."""
    cpu, wall = [], []
    for _ in range(runs):
        wall_before, cpu_before = time.perf_counter_ns(), time.thread_time_ns()
        invoke()
        cpu.append((time.thread_time_ns() - cpu_before) / 1e6)
        wall.append((time.perf_counter_ns() - wall_before) / 1e6)
    return {"cpu_ms": tuple(cpu), "wall_ms": tuple(wall)}


def _headline(rounds: Sequence[Round], usual: float | None) -> float:
    """Return what ``LocalDevice`` says of one thread."""
    least = np.array([min(one.samples["cpu_ms"]) for one in rounds])
    references = np.array([one.conditions.get("reference_ms") for one in rounds], float)
    pace = np.nan_to_num(references / (usual or 1), nan=1.0)
    full = np.abs(pace - 1) <= _FULL_PACE
    return float(least[full].min() if full.any() else np.median(least / pace))


def _run_for_a_moment(reference: Any) -> tuple[float, list[float]]:  # noqa: ANN401 - untyped
    """Return the share of a core that this thread gets, and the CPU time of each run in s."""
    began, cpu, runs = time.perf_counter(), time.thread_time(), []
    while (wall := time.perf_counter() - began) < _WINDOW_S:
        before = time.thread_time()
        reference.invoke()
        runs.append(time.thread_time() - before)
    return (time.thread_time() - cpu) / wall, runs


@functools.cache
def _reference(number: int) -> Any:  # noqa: ANN401, ARG001 - it comes without types; one each
    interpreter = find_runtime().load(REFERENCE.read_bytes(), 1)
    fill_inputs(interpreter)
    interpreter.invoke()
    return interpreter


def _cores() -> str:
    """Return how many cores there are, and how many of them this process may use."""
    count, usable = os.cpu_count(), usable_cores()
    return str(count) if usable == count else f"{usable} of {count}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name") or facts.get("Model") or platform.processor() or "unknown"
    if "model name" in facts and "cpu family" in facts:  # virtual machines hide the model's name
        name += f" (family {facts['cpu family']} model {facts['model']})"
    return name


def _cpu_state() -> dict[str, str | float | None]:
    """Return governor, clock and temperature where the system tells them."""
    folder = Path("/sys/devices/system/cpu/cpu0/cpufreq")
    clock = read_sysfs(folder / "scaling_cur_freq")
    zone = read_sysfs(Path("/sys/class/thermal/thermal_zone0/temp"))
    return {
        "governor": read_sysfs(folder / "scaling_governor"),
        "clock_mhz": float(clock) / 1e3 if clock else None,
        "temperature_celsius": float(zone) / 1e3 if zone else None,
    }


def read_sysfs(path: Path) -> str | None:
    """Return what a file of the system says, without white space around it; None if nothing."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
