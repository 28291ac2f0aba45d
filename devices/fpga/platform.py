"""FPGA boards: what designs on them may use, as TOML.

Those that come with the package lie in ``platforms/``; a user's lies anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brpnas.devices.toml_files import built_in_names, find_toml, load_toml
from brpnas.errors import UserError, unknown_name

__all__ = ["Platform", "built_in_platforms", "read_platform"]

_FOLDER = Path(__file__).with_name("platforms")
_LARGEST = 10**9


@dataclass(frozen=True)
class Platform:
    """A board.

    Attributes:
        name: of the built-in platform, or of the user's file without its ending.
        title: for people.
        resources: how many there are of ``"DSP"`` (slices), ``"BRAM"`` (blocks of 18 Kbit),
            ``"LUT"``, ``"FF"`` and ``"URAM"`` (blocks of 288 Kbit; 0 where there are none).
        clock_mhz: of designs.
        memory_gbit_per_s: peak bandwidth of the board's memory, 10^9 bits per second.
        port_width: bits per cycle in, and as many out, of a design.
        reconfiguration_s: what it takes to load another design.
        sources: where each of these numbers comes from, by its key.
    """

    name: str
    title: str
    resources: Mapping[str, int]
    clock_mhz: float
    memory_gbit_per_s: float
    port_width: int
    reconfiguration_s: float
    sources: Mapping[str, str]


def built_in_platforms() -> list[str]:
    """Return the names of the platforms that come with the package."""
    return built_in_names(_FOLDER)


def read_platform(name: str) -> Platform:
    """Read a platform.

    Args:
        name: of a built-in platform, or path of a TOML file.

    Raises:
        UserError: no such platform, or a file with something else in it than a platform; names
            file and key, and says what is accepted.
    """
    return _parse(find_toml(name, _FOLDER, "platform", "platform"), name)


def _parse(path: Path, shown: str) -> Platform:
    content = load_toml(path, shown)
    values = _table(shown, "", content, _KEYS)
    return Platform(name=path.stem, **values)


_Read = Callable[[str, str, Any], Any]


def _table(
    shown: str, prefix: str, content: object, readers: Mapping[str, _Read]
) -> dict[str, Any]:
    """Return the values of a table of the file, in which every key has to be there."""
    if not isinstance(content, dict):
        raise _error(shown, prefix.rstrip("."), content, "a table")
    for key in content:
        if key not in readers:
            raise UserError(f"{shown}: {unknown_name('key', prefix + key, readers)}")
    for key in readers:
        if key not in content:
            raise UserError(f"{shown}: '{prefix}{key}' is missing")
    return {key: readers[key](shown, prefix + key, content[key]) for key in readers}


def _error(shown: str, key: str, value: object, accepted: str) -> UserError:
    return UserError(f"{shown}: '{key}' is {value!r}; accepted: {accepted}")


def _text(shown: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _error(shown, key, value, "a text that is not empty")
    return value


def _number(shown: str, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST:
        raise _error(shown, key, value, "a number above 0")
    return float(value)


def _count(low: int) -> _Read:
    def read(shown: str, key: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= _LARGEST:
            raise _error(shown, key, value, f"a whole number from {low}")
        return value

    return read


_RESOURCES: dict[str, _Read] = {
    **dict.fromkeys(("DSP", "BRAM", "LUT", "FF"), _count(1)),
    "URAM": _count(0),
}
_NUMBERS = ("resources", "clock_mhz", "memory_gbit_per_s", "port_width", "reconfiguration_s")
_SOURCES: dict[str, _Read] = dict.fromkeys(_NUMBERS, _text)
_KEYS: dict[str, _Read] = {
    "title": _text,
    "resources": lambda shown, key, value: _table(shown, f"{key}.", value, _RESOURCES),
    "clock_mhz": _number,
    "memory_gbit_per_s": _number,
    "port_width": _count(1),
    "reconfiguration_s": _number,
    "sources": lambda shown, key, value: _table(shown, f"{key}.", value, _SOURCES),
}
