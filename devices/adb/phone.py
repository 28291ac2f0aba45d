"""A phone that runs TFLite's benchmark program."""

from __future__ import annotations

import hashlib
import math
import secrets
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from time import sleep

from brpnas.devices.adb.benchmark import APK, apk_output, benchmark_flags, parse_benchmark
from brpnas.devices.adb.conditions import LOOK, Conditions, parse_conditions, too_hot
from brpnas.devices.adb.folder import WorkFolder
from brpnas.devices.adb.scripts import END_OLD_RUNS, FACTS, RUN, RUN_APK
from brpnas.devices.adb.transport import Reply, Transport
from brpnas.devices.litert import DeviceLostError, LiteRTDevice, ModelError
from brpnas.devices.profile import AdbSettings, Profile
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.timing import Round, TimingPlan
from brpnas.errors import UserError, one_line

__all__ = ["Phone", "read_facts"]

_CHECK_EVERY_S = 5.0
_POLL_S = 5.0
_SETTLE_S = 20.0
_LEASE_S = 600.0  # on top of a round: a sweep that makes its next models does not ask for more


class Phone(LiteRTDevice):
    """Times models on a phone with ``benchmark_model`` (or its app).

    Args:
        transport: a link to the phone, connected.
        profile: of the phone.
        plan: how models are timed.

    Raises:
        UserError: the profile has no such delegate or is of another phone, or the phone has no
            benchmark program.
        DeviceLostError: no answer.
    """

    notes: Mapping[str, str] = {
        "latency_ms": "minimum of the wall time over all rounds, as benchmark_model reports it",
        "latency_ms_min": "the same",
        "latency_ms_wall_mean": "mean of the wall time over all runs",
        "latency_ms_wall_median": "median over rounds of their median; older benchmark_models "
        "report none",
        "latency_ms_std": "standard deviation of the wall time over all runs",
    }

    def __init__(self, transport: Transport, profile: Profile, plan: TimingPlan) -> None:
        profile.check(plan)
        self.plan = plan
        self._profile = profile
        self._adb = profile.adb or AdbSettings()
        self._transport = transport
        self._flags = profile.delegates[plan.delegate]
        self._folder = WorkFolder(transport, self._adb.folder, plan.timeout_s + _LEASE_S)
        self._binary = self._adb.binary
        self._program: bytes | None = None  # of this machine
        self._program_is_there = False
        if self._adb.push_binary is not None:
            self._program = self._adb.push_binary.read_bytes()
            self._binary = self._folder.program_path(self._program)
        self._identity = self._read_identity()
        self._conditions: Conditions = {}
        self._checked = -math.inf

    def identity(self) -> Mapping[str, str]:
        """Return phone, system build, benchmark program, cores, threads and delegate."""
        return self._identity

    def room_bytes(self) -> float:
        """Return how many bytes of models the phone keeps at a time."""
        return self._folder.room_bytes()

    def hold(self) -> None:
        """Keep others away from the phone.

        Raises:
            DeviceLostError: no answer.
            UserError: its folder cannot be written, or somebody else uses it.
        """
        self._folder.claim()

    def prepare(self, model: TFLiteModel) -> None:
        """Put a model on the phone, and the benchmark program if it is this machine's.

        Raises:
            ModelError: the phone has no room for this model.
            DeviceLostError: no answer.
            UserError: its disk is full, its folder cannot be written, or somebody else uses it.
        """
        self._folder.claim()
        if self._program is not None and not self._program_is_there:
            self._folder.put_program(self._program)
            self._program_is_there = True
        self._folder.put_model(model)

    def time(self, model: TFLiteModel) -> Round:
        """Run one round of a model; it is put on the phone unless it is there.

        Raises:
            ModelError: the phone cannot run it, or not as it was asked to.
            DeviceLostError: no answer.
            UserError: as ``prepare``, or the benchmark program has gone.
        """
        self.prepare(model)
        sections = self._run(model)
        if "absent" in sections:  # somebody has emptied the folder
            self._folder.forget()
            self.prepare(model)
            sections = self._run(model)
        if "run" not in sections:
            name = one_line(model.name)
            raise DeviceLostError(f"phone {self._transport.label}: '{name}' does not stay there")
        figures = self._figures(model, sections)
        before, after = (parse_conditions(sections[name]) for name in ("before", "after"))
        gate = self._profile.thermal
        if gate and too_hot(after, gate):
            self._checked = -math.inf
        samples = {name: (value,) for name, value in figures.items()}
        told = {name: self._conditions[name] for name in _SLOW if name in self._conditions}
        return Round(samples, {**_named(before, "before"), **_named(after, "after"), **told})

    def summarise(
        self,
        rounds: Sequence[Round],
        usual: float | None = None,  # noqa: ARG002 - a phone is waited for instead
    ) -> dict[str, float]:
        """Reduce rounds to columns; the headline is the minimum of all runs."""
        minima = self.samples(rounds)
        counts = _values(rounds, "count")
        means = _values(rounds, "mean_ms")
        medians = _values(rounds, "median_ms")
        mean = _weighted(counts, means)
        # A round of one run has none, and deviates from the mean by its own figure only.
        deviations = [one.samples.get("std_ms", (0.0,))[0] for one in rounds]
        squares = [std**2 + (own - mean) ** 2 for std, own in zip(deviations, means, strict=True)]
        return {
            "latency_ms": min(minima),
            "latency_ms_min": min(minima),
            "latency_ms_std": math.sqrt(_weighted(counts, squares)),
            "latency_ms_wall_median": statistics.median(medians) if medians else math.nan,
            "latency_ms_wall_mean": mean,
            "n_samples": sum(counts),
        }

    def samples(self, rounds: Sequence[Round]) -> list[float]:
        """Return the minimum of each round."""
        return _values(rounds, "min_ms")

    def wait_until_fit(
        self, say: Callable[[str], None], pause: Callable[[float], object] = sleep
    ) -> Conditions:
        """Wait while the phone is hotter than its profile allows; end what runs of earlier runs."""
        if time.monotonic() - self._checked < _CHECK_EVERY_S:
            return self._conditions
        # Before the first look: what runs there may be somebody else's.
        self._folder.claim()
        gate = self._profile.thermal
        said = False
        given_up = time.monotonic() + (gate.wait_s if gate else 0)
        while True:
            # A link that was lost leaves its run going, which would disturb the next.
            reply = self._transport.script(
                f'{LOOK}{END_OLD_RUNS}look "$2" all',
                [self._adb.folder.replace(".", "[.]"), str(self._profile.first_core)],
            )
            self._conditions = parse_conditions(reply.text)
            reason = too_hot(self._conditions, gate) if gate else None
            if gate is None or reason is None:
                self._checked = time.monotonic()
                return self._conditions
            if time.monotonic() > given_up:
                raise UserError(
                    f"phone {self._transport.label} is still too hot after {gate.wait_s:g} s: "
                    f"{reason}; let it cool down and repeat the command with --resume, or raise "
                    f"thermal.max_celsius in the profile"
                )
            if not said:
                say(
                    f"waiting up to {gate.wait_s:g} s for phone {self._transport.label} to cool "
                    f"down: {reason}"
                )
                said = True
            pause(_POLL_S)
            self._folder.claim()

    def reconnect(self) -> None:
        """Connect anew after a fault.

        Raises:
            DeviceLostError: still not there, or still starting.
            UserError: another phone answers, or this one with another system or program.
        """
        self._transport.reconnect()
        self._folder.forget()  # a phone that lost power may have lost what was written last
        self._program_is_there = False
        self._checked = -math.inf
        now = self._read_identity()
        changed = [name for name, value in self._identity.items() if now.get(name) != value]
        if "serial" in changed:
            raise UserError(
                f"another phone answers at {self._transport.label}: {now['serial']} "
                f"({now['model']}), not {self._identity['serial']}; connect the right one and "
                "repeat the command with --resume"
            )
        if changed:
            raise UserError(
                f"phone {self._transport.label} has changed since the measurement began "
                f"({', '.join(changed)}): its figures would not compare; start a new table"
            )

    def release(self) -> None:
        """Let others use the phone; the link stays."""
        self._folder.release()

    def close(self) -> None:
        """Release the phone and the link."""
        self.release()
        self._transport.close()

    def _read_identity(self) -> dict[str, str]:
        facts = read_facts(self._transport, self._adb.runner, self._binary)
        if facts["booted"] != "1":
            raise DeviceLostError(f"phone {self._transport.label}: it is still starting")
        models = self._adb.models
        if models and facts["model"] not in models:
            raise UserError(
                f"phone {self._transport.label} is a '{facts['model']}', profile "
                f"'{self._profile.name}' is for: {', '.join(models)}; take --device adb, or write "
                "a profile for it (docs/devices.md)"
            )
        if self._program is not None:  # it is put there when it is needed
            facts["program_sha256"] = hashlib.sha256(self._program).hexdigest()
        if not facts["program_sha256"]:
            raise UserError(missing_program(self._transport.label, self._adb, self._binary))
        return {
            "name": self._profile.name,
            **{name: facts[name] for name in _IDENTITY},
            "runner": self._adb.runner,
            "cpu_mask": self._profile.cpu_mask or "",
            "threads": str(self.plan.threads),
            "delegate": self.plan.delegate,
            "delegate_flags": " ".join(self._flags),
        }

    def _run(self, model: TFLiteModel) -> dict[str, str]:
        """Run a model if the phone has it; return the parts of the answer by name."""
        graph = self._folder.model_path(model)
        flags = benchmark_flags(graph, self.plan, self._flags)
        seconds = math.ceil(self.plan.timeout_s)
        if self._adb.runner == "apk":
            started = f"brpnas {secrets.token_hex(8)}"
            command = ["sh", "-c", RUN_APK, "brpnas", APK, str(seconds), " ".join(flags), started]
        else:
            pinned = ["taskset", self._profile.cpu_mask] if self._profile.cpu_mask else []
            # Right before the program: on some phones `timeout` ends only its own child.
            command = ["timeout", "-k", "2", str(seconds), *pinned, self._binary, *flags]
        # What a benchmark prints cannot be mistaken for a heading.
        mark = f"==={secrets.token_hex(8)}"
        look = [mark, graph, str(len(model.content)), str(self._profile.first_core)]
        reply = self._transport.script(LOOK + RUN, [*look, *command], seconds + _SETTLE_S)
        sections = {}
        for section in reply.text.split(f"{mark} ")[1:]:
            name, _, content = section.partition("\n")
            sections[name] = content
        if not sections:
            raise DeviceLostError(
                f"phone {self._transport.label}: unexpected answer: {one_line(reply.text)}"
            )
        return sections

    def _figures(self, model: TFLiteModel, sections: Mapping[str, str]) -> dict[str, float]:
        reply = _program_reply(sections, self.plan.timeout_s)
        if reply.timed_out:
            raise ModelError(
                f"'{one_line(model.name)}' took more than {self.plan.timeout_s:g} s on phone "
                f"{self._transport.label} and was stopped"
            )
        if reply.code in (126, 127):  # of the shell: there is no such program
            raise UserError(
                f"phone {self._transport.label}: {self._binary} cannot be run "
                f"({one_line(reply.text)}); brpnas devices doctor says what is missing"
            )
        text = apk_output(reply.text) if self._adb.runner == "apk" else reply.text
        try:
            return parse_benchmark(reply.code, text, self._flags, self.plan.runs)
        except ModelError as error:
            raise ModelError(f"'{one_line(model.name)}': {error}") from None


_IDENTITY = ("serial", "model", "fingerprint", "soc", "abi", "program_sha256")
# Too slow to be asked for in every round; a round has them as they were last seen.
_SLOW = ("thermal_status", "screen")


def read_facts(transport: Transport, runner: str, binary: str) -> dict[str, str]:
    """Ask a phone what it is: the system's names, and the benchmark program's hash.

    Raises:
        DeviceLostError: no answer.
    """
    reply = transport.script(FACTS, [runner, binary, APK])
    facts = dict(line.split("=", 1) for line in reply.text.splitlines() if "=" in line)
    names = (*_IDENTITY, "booted", "program")
    found = {name: facts.get(name, "").strip() for name in names}
    if not found["serial"]:
        found["serial"] = transport.label
    return found


def missing_program(label: str, settings: AdbSettings, binary: str) -> str:
    """Say that a phone has no benchmark program, and what to do."""
    if settings.runner == "apk":
        return (
            f"phone {label} has no TFLite benchmark app ({APK}): install it with "
            "'adb install -r -d -g android_aarch64_benchmark_model.apk'"
        )
    return (
        f"phone {label} has no program {binary} that may be run: put TFLite's benchmark_model "
        "there, or name yours on this machine as adb.push_binary in the profile (docs/devices.md)"
    )


def _program_reply(sections: Mapping[str, str], timeout_s: float) -> Reply:
    """Return how the benchmark program ended."""
    code, _, seconds = sections.get("end", "").strip().partition(" ")
    if not code.isdigit() or not seconds.isdigit():
        raise DeviceLostError("the phone's answer ends before the benchmark program did")
    # coreutils says 124; busybox and older phones report the signal, which may be another's.
    killed = code in ("137", "143") and int(seconds) >= timeout_s - 1
    return Reply(int(code), sections["run"], code == "124" or killed)


def _named(conditions: Conditions, when: str) -> dict[str, str | float | None]:
    return {f"{name}_{when}": value for name, value in conditions.items()}


def _weighted(weights: Sequence[float], values: Sequence[float]) -> float:
    pairs = zip(weights, values, strict=True)
    return sum(weight * value for weight, value in pairs) / sum(weights)


def _values(rounds: Sequence[Round], name: str) -> list[float]:
    return [value for one in rounds for value in one.samples.get(name, ())]
