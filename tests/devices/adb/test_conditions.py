from __future__ import annotations

import pytest

from brpnas.devices.adb.conditions import parse_conditions, too_hot
from brpnas.devices.profile import ThermalGate

TEXT = """  level: 87
  temperature: 312
/sys/devices/system/cpu/cpu4/cpufreq/scaling_governor:schedutil
/sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq:2419200
/sys/class/thermal/thermal_zone0/type:battery
/sys/class/thermal/thermal_zone1/type:cpu-1-0-usr
/sys/class/thermal/thermal_zone2/type:cpu-1-1-usr
/sys/class/thermal/thermal_zone3/type:BIG
/sys/class/thermal/thermal_zone0/temp:99000
/sys/class/thermal/thermal_zone1/temp:45100
/sys/class/thermal/thermal_zone2/temp:47200
/sys/class/thermal/thermal_zone3/temp:0
/sys/class/thermal/thermal_zone9/temp:99000
Thermal Status: 0
  mWakefulness=Dozing
"""
GATE = ThermalGate(40.0)


def test_all_that_a_phone_tells() -> None:
    assert parse_conditions(TEXT) == {
        "battery_celsius": 31.2,
        "battery_pct": 87.0,
        "cpu_celsius": 47.2,
        "governor": "schedutil",
        "clock_mhz": 2419.2,
        "thermal_status": 0.0,
        "screen": "Dozing",
    }


@pytest.mark.parametrize("text", ["", "nonsense\n", "/sys/class/thermal/thermal_zone0/temp:x\n"])
def test_what_is_not_told_is_missing(text: str) -> None:
    found = parse_conditions(text)
    assert set(found.values()) == {None}
    assert too_hot(found, GATE) is None


@pytest.mark.parametrize(
    ("battery", "cpu", "status", "reason"),
    [
        (40.0, 95.0, 0.0, None),  # the battery tells, where there is one
        (40.1, 30.0, 0.0, "its battery has 40.1 °C, above 40"),
        (None, 81.0, None, "its cpu has 81.0 °C, above 40"),
        (None, 39.0, None, None),
        (20.0, 30.0, 2.0, "thermal status 2"),
    ],
)
def test_too_hot(
    battery: float | None, cpu: float | None, status: float | None, reason: str | None
) -> None:
    conditions = {"battery_celsius": battery, "cpu_celsius": cpu, "thermal_status": status}
    found = too_hot(conditions, GATE)
    assert found == reason or (reason and reason in str(found))
