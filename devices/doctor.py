"""What stands in the way of measuring on a device, and how to put it right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brpnas.devices.adb.benchmark import APK, known_flags
from brpnas.devices.adb.conditions import LOOK, parse_conditions, too_hot
from brpnas.devices.adb.phone import missing_program, read_facts
from brpnas.devices.adb.transport import Transport, one_line
from brpnas.devices.connect import open_transport
from brpnas.devices.profile import AdbSettings, Profile
from brpnas.devices.runtime import find_runtime
from brpnas.errors import UserError

__all__ = ["Check", "examine"]

_LOW_BATTERY_PCT = 20
_LOW_SPACE_KB = 100 * 1024
_HELP_S = 20.0
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


def _examine_machine() -> Iterator[Check]:
    try:
        runtime = find_runtime()
    except UserError as error:
        yield Check("runtime", "problem", "none", str(error))
    else:
        yield Check("runtime", "ok", f"{runtime.package} {runtime.version}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    yield Check("cores", "ok", str(cores))
    yield _governor(_text(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")))
    load = os.getloadavg()[0]
    busy = load > 0.5 * cores
    yield Check(
        "load",
        "warning" if busy else "ok",
        f"{load:.1f} programs want one of {cores} cores",
        "stop other programs, or expect to wait until they end" if busy else "",
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


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
    if settings.push_binary is not None:
        found = f"{settings.push_binary} of this machine is put on the phone"
        yield Check("program", "ok", found)
    elif settings.runner == "apk":
        found = facts["program"]
        fix = "" if found else missing_program(transport.label, settings, binary)
        yield Check("program", "ok" if found else "problem", found or f"no {APK}", fix)
    else:
        yield from _program(transport, profile, settings, facts)
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
