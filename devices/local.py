"""This machine, through its TFLite runtime."""

from __future__ import annotations

import functools
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from brpnas.devices.litert import LiteRTDevice, ModelError
from brpnas.devices.profile import read_profile
from brpnas.devices.reference import REFERENCE
from brpnas.devices.runtime import find_runtime
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.writer import MAKER
from brpnas.devices.timing import Round, TimingPlan
from brpnas.devices.trial import fill_inputs
from brpnas.errors import UserError

__all__ = ["LocalDevice"]

# A share of a core below which the machine is too busy. CPU time forgives much: two other busy
# processes on two cores leave two thirds, and the figures stay within 2%.
_ENOUGH = {"cpu_ms": 0.5, "wall_ms": 0.9}
# The reference network may run so much slower than it ever did in this process.
_SLOWDOWN = 1.5
_CHECK_EVERY_S = 5.0
_WINDOW_S = 0.05
_PATIENCE_S = 120.0


class LocalDevice(LiteRTDevice):
    """Times models on this machine.

    With one thread the headline is the median of the running thread's CPU time, which other
    programs disturb least; with more threads CPU time says nothing, and the headline is the
    minimum of the wall time.

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
        self._clock = "cpu_ms" if plan.threads == 1 else "wall_ms"
        clock = "CPU time of the running thread" if plan.threads == 1 else "wall time"
        self.notes = {
            "latency_ms": f"{'median' if plan.threads == 1 else 'minimum'} of the {clock}",
            "latency_ms_min": f"minimum of the {clock}",
            "latency_ms_std": f"standard deviation of the {clock}",
        }
        self._trusted: set[str] = set()
        self._checked = -_CHECK_EVERY_S
        self._fastest = np.inf
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
            for _ in range(self.plan.warmup):
                interpreter.invoke()
            samples = _time(interpreter.invoke, self.plan.runs)
        except (ValueError, RuntimeError, MemoryError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ModelError(f"the runtime cannot run '{model.name}': {reason}") from None
        return Round(samples, self._conditions)

    def _try(self, model: TFLiteModel) -> None:
        if model.maker == MAKER or model.sha256 in self._trusted:
            return
        plan = self.plan
        if reason := self._runtime.try_once(model.content, plan.threads, plan.timeout_s):
            raise ModelError(f"the runtime cannot run '{model.name}': it {reason}")
        self._trusted.add(model.sha256)

    def summarise(self, rounds: Sequence[Round]) -> dict[str, float]:
        """Reduce rounds to columns: headline, minimum and deviation are of the headline's clock."""
        counted = self.samples(rounds)
        wall = [value for one in rounds for value in one.samples["wall_ms"]]
        middle = statistics.median(counted)
        return {
            "latency_ms": middle if self._clock == "cpu_ms" else min(counted),
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
        """Wait while a reference network gets too little of a core, or runs far too slowly."""
        if time.monotonic() - self._checked < _CHECK_EVERY_S:
            return self._conditions
        given_up = time.monotonic() + _PATIENCE_S
        said = False
        while reason := self._too_busy():
            if time.monotonic() > given_up:
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

    def _too_busy(self) -> str | None:
        """Run the reference network for a moment; return what is wrong, or None."""
        reference = _reference()  # made before the clock runs
        began, cpu, runs = time.perf_counter(), time.thread_time(), []
        while (wall := time.perf_counter() - began) < _WINDOW_S:
            before = time.thread_time()
            reference.invoke()
            runs.append(time.thread_time() - before)
        share = (time.thread_time() - cpu) / wall
        typical = statistics.median(runs)
        self._fastest = min(self._fastest, typical)
        self._conditions = {
            "share_of_core": round(share, 3),
            "reference_ms": round(1e3 * typical, 5),
            "load": round(os.getloadavg()[0], 2),
            **_cpu_state(),
        }
        enough = _ENOUGH[self._clock]
        if share < enough:
            return f"a program gets {share:.0%} of a core, {enough:.0%} are needed"
        if typical > _SLOWDOWN * self._fastest:
            slower = typical / self._fastest
            return f"a reference network takes {slower:.1f} times as long as it did"
        return None


def _time(invoke: Callable[[], object], runs: int) -> dict[str, tuple[float, ...]]:
    """Call a function some times; return CPU time of this thread and wall time of each call."""
    cpu, wall = [], []
    for _ in range(runs):
        wall_before, cpu_before = time.perf_counter_ns(), time.thread_time_ns()
        invoke()
        cpu.append((time.thread_time_ns() - cpu_before) / 1e6)
        wall.append((time.perf_counter_ns() - wall_before) / 1e6)
    return {"cpu_ms": tuple(cpu), "wall_ms": tuple(wall)}


@functools.cache
def _reference() -> Any:  # noqa: ANN401 - it comes without types
    interpreter = find_runtime().load(REFERENCE.read_bytes(), 1)
    fill_inputs(interpreter)
    interpreter.invoke()
    return interpreter


def _cores() -> str:
    """Return how many cores there are, and how many of them this process may use."""
    count = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count
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
    clock = _read(folder / "scaling_cur_freq")
    zone = _read(Path("/sys/class/thermal/thermal_zone0/temp"))
    return {
        "governor": _read(folder / "scaling_governor"),
        "clock_mhz": float(clock) / 1e3 if clock else None,
        "temperature_celsius": float(zone) / 1e3 if zone else None,
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
