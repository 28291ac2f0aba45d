"""The state of a phone that its figures depend on: heat, power, clock, screen."""

from __future__ import annotations

import re
from collections.abc import Mapping

from brpnas.devices.profile import ThermalGate

__all__ = ["LOOK", "Conditions", "parse_conditions", "too_hot"]

Conditions = Mapping[str, str | float | None]

# A shell function for scripts on the phone, in few processes: each takes 5 to 20 ms there.
# Arguments: a core that is measured on; "all" to ask the slower services too.
LOOK = """
look() {
  dumpsys battery 2>/dev/null | grep -E '^ *(level|temperature): '
  set -- "$1" "$2" "/sys/devices/system/cpu/cpu$1/cpufreq"
  grep -sH . "$3/scaling_governor" "$3/scaling_cur_freq" \
    /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp 2>/dev/null
  if [ "$2" = all ]; then
    dumpsys thermalservice 2>/dev/null | grep -m 1 'Thermal Status: '
    dumpsys power 2>/dev/null | grep -m 1 'mWakefulness='
  fi
}
"""

_BATTERY = re.compile(r"^ *(level|temperature): (-?\d+)", re.MULTILINE)
_FILE = re.compile(r"^/sys/\S*?(thermal_zone\d+/)?(\w+):(.*)$", re.MULTILINE)
_STATUS = re.compile(r"Thermal Status: (\d+)")
_AWAKE = re.compile(r"mWakefulness=(\w+)")
_PROCESSOR = re.compile(r"cpu|soc|big|mid|little|tsens", re.IGNORECASE)


def parse_conditions(text: str) -> dict[str, str | float | None]:
    """Read what ``look`` wrote.

    Returns:
        ``battery_celsius``, ``battery_pct``, ``cpu_celsius`` (the hottest zone of the processor),
        ``governor``, ``clock_mhz``, and where asked for ``thermal_status`` (Android's, 0 is fine)
        and ``screen``; None where the phone does not tell.
    """
    battery = {name: float(value) for name, value in _BATTERY.findall(text)}
    zones: dict[str, dict[str, str]] = {}
    for zone, name, value in _FILE.findall(text):
        zones.setdefault(zone, {})[name] = value.strip()
    clock = zones.pop("", {})
    degrees = [
        float(zone["temp"]) / 1e3
        for zone in zones.values()
        if _PROCESSOR.search(zone.get("type", "")) and zone.get("temp", "").isdigit()
    ]
    # Zones that are switched off report 0, or numbers of some other unit.
    degrees = [value for value in degrees if 1 < value < 150]
    frequency = clock.get("scaling_cur_freq", "")
    found: dict[str, str | float | None] = {
        "battery_celsius": battery["temperature"] / 10 if "temperature" in battery else None,
        "battery_pct": battery.get("level"),
        "cpu_celsius": max(degrees, default=None),
        "governor": clock.get("scaling_governor"),
        "clock_mhz": float(frequency) / 1e3 if frequency.isdigit() else None,
    }
    if status := _STATUS.search(text):
        found["thermal_status"] = float(status[1])
    if awake := _AWAKE.search(text):
        found["screen"] = awake[1]
    return found


def too_hot(conditions: Conditions, gate: ThermalGate) -> str | None:
    """Say what is too hot, or return None."""
    status = conditions.get("thermal_status")
    if isinstance(status, float) and status > 0:
        return f"Android slows it down for its heat (thermal status {status:.0f})"
    for what in ("battery", "cpu"):
        value = conditions.get(f"{what}_celsius")
        if isinstance(value, float):
            if value > gate.max_celsius:
                return f"its {what} has {value:.1f} °C, above {gate.max_celsius:g}"
            return None  # a processor is hot whenever it works; a battery tells more
    return None
