"""What stands in the way of measuring on a device, and how to put it right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from brpnas.devices.adb.benchmark import APK, known_flags
from brpnas.devices.adb.conditions import LOOK, parse_conditions, too_hot
from brpnas.devices.adb.folder import WorkFolder
from brpnas.devices.adb.phone import Phone, missing_program, read_facts
from brpnas.devices.adb.transport import Transport
from brpnas.devices.connect import connect, open_transport
from brpnas.devices.litert import DeviceLostError, ModelError
from brpnas.devices.local import read_sysfs
from brpnas.devices.profile import AdbSettings, Profile
from brpnas.devices.reference import REFERENCE
from brpnas.devices.runtime import find_runtime
from brpnas.devices.sweep import exclusive
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.timing import TimingPlan
from brpnas.errors import UserError, one_line
from brpnas.executors import usable_cores

__all__ = ["Check", "examine"]

_LOW_BATTERY_PCT = 20
_LOW_SPACE_KB = 100 * 1024
_HELP_S = 20.0
_TRIAL_S = 20.0
_LEASE_S = 600.0  # to push a program over a poor link
_TOOLS = ("timeout", "taskset", "stat", "sha256sum")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of it.
        state: ``"ok"``, ``"warning"`` (figures may suffer) or ``"problem"`` (no figures).
        found: what there is.
        fix: what to do, unless all is well.
    """

    name: str
    state: str
    found: str
    fix: str = ""


def examine(
    profile: Profile, *, serial: str | None = None, address: str | None = None
) -> list[Check]:
    """Look at all that measuring on a device needs.

    Args:
        profile: of the device.
        serial: of the phone, in place of the profile's.
        address: ``HOST:PORT`` of the phone, in place of the profile's.
    """
    if profile.kind == "local":
        return list(_examine_machine())
    if profile.kind != "adb":
        return [_examine_other(profile, serial, address)]
    settings = profile.adb or AdbSettings()
    try:
        transport = open_transport(settings, serial, address)
    except UserError as error:
        return [Check("connection", "problem", "none", str(error))]
    checks = [Check("connection", "ok", f"{transport.label} through {settings.transport}")]
    try:
        for check in _examine_phone(transport, profile, settings):
            checks.append(check)  # noqa: PERF402 - those before a fault count
    except UserError as error:
        checks.append(Check("connection", "problem", "lost", f"{error}; try again"))
    finally:
        transport.close()
    return checks


def _examine_other(profile: Profile, serial: str | None, address: str | None) -> Check:
    try:
        with connect(profile, TimingPlan(), serial=serial, address=address) as device:
            found = "; ".join(f"{name}: {value}" for name, value in device.identity().items())
    except UserError as error:
        return Check("connection", "problem", "none", str(error))
    return Check("connection", "ok", found)


def _examine_machine() -> Iterator[Check]:
    try:
        runtime = find_runtime()
    except UserError as error:
        yield Check("runtime", "problem", "none", str(error))
    else:
        yield Check("runtime", "ok", f"{runtime.package} {runtime.version}")
    cores = usable_cores()
    yield Check("cores", "ok", str(cores))
    yield _governor(read_sysfs(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")))
    load = os.getloadavg()[0]
    busy = load > 0.5 * cores
    yield Check(
        "load",
        "warning" if busy else "ok",
        f"{load:.1f} programs want one of {cores} cores",
        "stop other programs, or expect to wait until they end" if busy else "",
    )


def _governor(governor: str | None) -> Check:
    if governor in ("performance", None):
        return Check("governor", "ok", governor or "not told")
    return Check(
        "governor",
        "warning",
        governor,
        "the clock changes with the load: keep to several rounds, and to the minimum; with root, "
        "write performance into scaling_governor",
    )


def _examine_phone(
    transport: Transport, profile: Profile, settings: AdbSettings
) -> Iterator[Check]:
    binary = settings.binary
    facts = read_facts(transport, settings.runner, binary)
    fits = not settings.models or facts["model"] in settings.models
    yield Check(
        "phone",
        "ok" if fits else "problem",
        f"{facts['model']}, {facts['soc']}, {facts['serial']}, {facts['fingerprint']}",
        ""
        if fits
        else f"profile '{profile.name}' is for {', '.join(settings.models)}: take 'adb', or write "
        "a profile for this phone",
    )
    mask = profile.cpu_mask or ""
    arguments = [str(profile.first_core), settings.folder, mask, *_TOOLS]
    state = transport.script(LOOK + _STATE, arguments).text
    told = dict(line.split("=", 1) for line in state.splitlines() if line.startswith("brpnas_"))
    missing = told.get("brpnas_missing", "").split()
    yield Check(
        "tools",
        "problem" if missing else "ok",
        f"no {', '.join(missing)}" if missing else ", ".join(_TOOLS),
        "phones have them from Android 8 on; take a newer system" if missing else "",
    )
    if mask and "taskset" not in missing:
        pinned = told.get("brpnas_mask") == "0"
        yield Check(
            "cores",
            "ok" if pinned else "problem",
            f"mask {mask} of cores {told.get('brpnas_cores', '?')}",
            "" if pinned else "write a cpu_mask of cores that the phone has into the profile",
        )
    yield from _folder(settings.folder, told)
    if settings.push_binary is None and settings.runner == "binary":
        yield from _program(transport, profile, settings, facts)
    else:
        yield from _put_and_tried(transport, profile, settings, facts)
    yield from _conditions(profile, settings, state, told)


def _folder(folder: str, told: dict[str, str]) -> Iterator[Check]:
    if told.get("brpnas_writable") != "yes":
        selinux = told.get("brpnas_selinux", "")
        yield Check(
            "folder",
            "problem",
            f"{folder} cannot be written{f' (SELinux: {selinux})' if selinux else ''}",
            "write another one as adb.folder into the profile, such as /data/local/tmp/brpnas",
        )
        return
    free = told.get("brpnas_free_kb", "")
    low = free.isdigit() and int(free) < _LOW_SPACE_KB
    yield Check(
        "folder",
        "warning" if low else "ok",
        f"{folder}, {int(free) / 1024:,.0f} MB free" if free.isdigit() else folder,
        "remove something from the phone" if low else "",
    )


def _put_and_tried(
    transport: Transport, profile: Profile, settings: AdbSettings, facts: dict[str, str]
) -> Iterator[Check]:
    """Look at what measuring would put on the phone, or can only try: while nobody measures."""
    try:
        with exclusive({"name": profile.name, "serial": facts["serial"]}):
            if settings.push_binary is None:
                yield from _app(transport, profile, settings, facts)
            else:
                remote = _put_program(transport, settings, settings.push_binary)
                own = replace(settings, binary=remote)
                found = read_facts(transport, own.runner, own.binary)
                yield from _program(transport, profile, own, found)
    except DeviceLostError:
        raise
    except UserError as error:
        yield Check("program", "problem", "cannot be tried", str(error))


def _put_program(transport: Transport, settings: AdbSettings, program: Path) -> str:
    content = program.read_bytes()
    folder = WorkFolder(transport, settings.folder, _LEASE_S)
    folder.claim()
    try:
        folder.put_program(content)
    finally:
        folder.release()
    return folder.program_path(content)


def _app(
    transport: Transport, profile: Profile, settings: AdbSettings, facts: dict[str, str]
) -> Iterator[Check]:
    if not facts["program"]:
        fix = missing_program(transport.label, settings, settings.binary)
        yield Check("program", "problem", f"no {APK}", fix)
        return
    yield Check("program", "ok", facts["program"])
    network = TFLiteModel("a small network", REFERENCE.read_bytes(), "brpnas")
    for name in profile.delegates:
        # The app lists no flags that could be read; whether it knows them shows when it runs.
        plan = TimingPlan(1, 1, 0, profile.threads, name, _TRIAL_S)
        phone = Phone(transport, profile, plan)
        try:
            (took_ms,) = phone.time(network).samples["min_ms"]
        except ModelError as error:
            state = "problem" if name == "cpu" else "warning"
            fix = "unlock the screen; take an app with this delegate, or measure with another"
            yield Check(f"delegate {name}", state, str(error), fix)
        else:
            yield Check(f"delegate {name}", "ok", f"{network.name} ran in {took_ms:.3g} ms")
        finally:
            phone.release()


def _program(
    transport: Transport,
    profile: Profile,
    settings: AdbSettings,
    facts: dict[str, str],
) -> Iterator[Check]:
    binary = settings.binary
    if not facts["program_sha256"]:
        there = bool(transport.script('[ -e "$1" ] && echo there', [binary]).text.strip())
        fix = f"adb shell chmod 755 {binary}" if there else ""
        found = f"{binary} may not be run" if there else f"no {binary}"
        yield Check(
            "program", "problem", found, fix or missing_program(transport.label, settings, binary)
        )
        return
    reply = transport.shell([binary, "--help"], _HELP_S)
    flags = known_flags(reply.text)
    if "--graph" not in flags:
        yield Check(
            "program",
            "problem",
            f"{binary} --help: {one_line(reply.text) or 'no answer'}",
            f"take a benchmark_model that was built for {facts['abi'] or 'this processor'}, in a "
            "folder from which programs may be run, such as /data/local/tmp",
        )
        return
    yield Check("program", "ok", f"{binary}, sha256 {facts['program_sha256'][:12]}")
    for name, wanted in profile.delegates.items():
        unknown = [flag for flag in wanted if flag.partition("=")[0] not in flags]
        yield Check(
            f"delegate {name}",
            "warning" if unknown else "ok",
            f"the program does not know {' '.join(unknown)}" if unknown else "its flags are known",
            "take a build with this delegate, or measure with another" if unknown else "",
        )


def _conditions(
    profile: Profile, settings: AdbSettings, state: str, told: dict[str, str]
) -> Iterator[Check]:
    conditions = parse_conditions(state)
    screen, locked = conditions.get("screen"), told.get("brpnas_locked") == "yes"
    if screen is not None:
        asleep = screen != "Awake" or locked
        needed = settings.runner == "apk"
        yield Check(
            "screen",
            ("problem" if needed else "warning") if asleep else "ok",
            f"{screen}{', locked' if locked else ''}",
            "unlock it and switch on 'Stay awake' in the developer options: "
            f"{'the app runs only then' if needed else 'phones save power when asleep'}"
            if asleep
            else "",
        )
    yield _governor(None if (value := conditions["governor"]) is None else str(value))
    degrees = conditions["battery_celsius"]
    if degrees is None:
        degrees = conditions["cpu_celsius"]
    reason = too_hot(conditions, profile.thermal) if profile.thermal else None
    if degrees is None:
        yield Check("temperature", "warning", "not told", "measure in a cool place, with pauses")
    else:
        yield Check(
            "temperature",
            "warning" if reason else "ok",
            reason or f"{degrees:.1f} °C",
            "let it cool down; measuring waits for it" if reason else "",
        )
    level = conditions["battery_pct"]
    if isinstance(level, float):
        low = level < _LOW_BATTERY_PCT
        fix = "charge it: phones slow down when the battery is low" if low else ""
        yield Check("battery", "warning" if low else "ok", f"{level:.0f}%", fix)


# Arguments: a core that is measured on, the folder for models, the mask, names of commands.
_STATE = """
look "$1" all
d=$2 k=$3
shift 3
m=
for c in "$@"; do command -v "$c" >/dev/null || m="$m $c"; done
echo "brpnas_missing=$m"
if [ -n "$k" ]; then taskset "$k" true >/dev/null 2>&1; echo "brpnas_mask=$?"; fi
echo "brpnas_cores=$(cat /sys/devices/system/cpu/possible 2>/dev/null)"
echo "brpnas_selinux=$(getenforce 2>/dev/null)"
mkdir -p "$d" 2>/dev/null
[ -w "$d" ] && echo brpnas_writable=yes
set -- $(df -k "$d" 2>/dev/null | tail -n 1)
[ $# -ge 6 ] && { shift $(($# - 3)); echo "brpnas_free_kb=$1"; }
dumpsys window policy 2>/dev/null | grep -qE '(showing|mShowingLockscreen)=true' && \
  echo brpnas_locked=yes
true
"""
