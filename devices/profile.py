"""Device profiles: what is known of a device before it is connected, as TOML.

The profiles that come with the package lie in ``profiles/``; a user's lies anywhere. A kind of
device that another package offers needs none: its name stands for the plainest profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from brpnas.devices.kinds import DEVICE_KINDS
from brpnas.devices.timing import TimingPlan
from brpnas.devices.toml_files import built_in_names, find_toml, load_toml
from brpnas.errors import UserError, unknown_name

__all__ = ["AdbSettings", "Profile", "ThermalGate", "profile_names", "read_profile"]

T = TypeVar("T")

_FOLDER = Path(__file__).with_name("profiles")
# These become words of commands on the phone. They are quoted there too; what is refused here
# would be passed on by the benchmark app, which takes its flags as one string.
_REMOTE_PATH = re.compile(r"/[\w./-]+", re.ASCII)
_FLAG = re.compile(r"--\w+(=[\w./:,+-]*)?", re.ASCII)
_MASK = re.compile(r"(0x)?[0-9a-fA-F]{1,16}")


@dataclass(frozen=True)
class AdbSettings:
    """How a phone is reached, and what runs models there.

    Attributes:
        transport: ``"adb-shell"`` talks to the phone itself, over USB or to its address;
            ``"adbutils"`` asks an adb server, which also knows phones paired over Wi-Fi.
        serial: of the phone, where several may be connected.
        address: ``HOST:PORT`` of a phone on the network.
        models: accepted values of the phone's ``ro.product.model``; none: all.
        binary: path of TFLite's ``benchmark_model`` on the phone.
        push_binary: path of a ``benchmark_model`` on this machine that is put on the phone and
            used in place of ``binary``.
        runner: ``"binary"``, or ``"apk"``: TFLite's benchmark app.
        folder: on the phone, for models; made if it is missing.
    """

    transport: str = "adb-shell"
    serial: str | None = None
    address: str | None = None
    models: tuple[str, ...] = ()
    binary: str = "/data/local/tmp/benchmark_model"
    push_binary: Path | None = None
    runner: str = "binary"
    folder: str = "/data/local/tmp/brpnas"


@dataclass(frozen=True)
class ThermalGate:
    """When a device is too hot to measure on.

    Attributes:
        max_celsius: of the battery, or of the processor where there is no battery.
        wait_s: how long to wait for it to cool down before giving up.
    """

    max_celsius: float
    wait_s: float = 600.0


@dataclass(frozen=True)
class Profile:
    """A device.

    Attributes:
        name: of the built-in profile, or of the user's file without its ending.
        title: for people.
        kind: ``"local"`` (this machine), ``"adb"`` (a phone), or what a package offers.
        threads: of the runtime, where the user does not say.
        cpu_mask: cores that models run on, as the hexadecimal number that ``taskset`` takes;
            None: all.
        delegates: flags of ``benchmark_model`` for each delegate that the device has.
        adb: how to reach it, if it is a phone.
        thermal: when it is too hot.
    """

    name: str
    title: str
    kind: str
    threads: int = 1
    cpu_mask: str | None = None
    delegates: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"cpu": ()})
    adb: AdbSettings | None = None
    thermal: ThermalGate | None = None

    @property
    def cores(self) -> int | None:
        """Number of cores in the mask; None if there is no mask."""
        return None if self.cpu_mask is None else int(self.cpu_mask, 16).bit_count()

    @property
    def first_core(self) -> int:
        """The lowest core of the mask; 0 if there is no mask."""
        mask = int(self.cpu_mask or "1", 16)
        return (mask & -mask).bit_length() - 1

    def check(self, plan: TimingPlan) -> None:
        """Check that the device can do what a plan asks for.

        Raises:
            UserError: no such delegate, or more threads than cores.
        """
        if plan.delegate not in self.delegates:
            raise UserError(
                f"device '{self.name}' has no delegate '{plan.delegate}'; accepted: "
                f"{', '.join(self.delegates)}"
            )
        if self.cores is not None and plan.threads > self.cores:
            raise UserError(
                f"{plan.threads} threads on the {self.cores} cores of mask {self.cpu_mask} of "
                f"device '{self.name}' would wait for each other; accepted: 1 to {self.cores}"
            )


def profile_names() -> list[str]:
    """Return the names of devices: profiles that come with brpnas, then kinds of other packages."""
    known = built_in_names(_FOLDER)
    return known + [kind for kind in DEVICE_KINDS if kind not in known]


def read_profile(name: str) -> Profile:
    """Read a profile.

    Args:
        name: of a built-in profile, or of a kind of device; or path of a TOML file.

    Raises:
        UserError: no such profile, or a file with something else in it than a profile; names
            file and key, and says what is accepted. Or several packages offer that kind.
    """
    package = DEVICE_KINDS.package(name) if name in DEVICE_KINDS else None
    if package is None:
        return _parse(find_toml(name, _FOLDER, "device", "profile", [*DEVICE_KINDS]), name)
    if name in built_in_names(_FOLDER):
        raise UserError(
            f"device '{name}' is offered by several packages: brpnas, {package}; uninstall the "
            "other one, or have its author give it another name"
        )
    return Profile(name, f"Offered by the package {package}", kind=name)


def _parse(path: Path, shown: str) -> Profile:
    content = load_toml(path, shown)
    reader = _Reader(shown, path.parent)
    if content.get("kind") == "adb":
        content.setdefault("adb", {})
    content = {"name": path.stem, **content}
    profile = reader.make(Profile, content, "", _PROFILE)
    for key in {"local": ("adb", "cpu_mask", "thermal"), "adb": ()}.get(profile.kind, ("adb",)):
        if getattr(profile, key) is not None:
            raise UserError(f"{shown}: '{key}' has no meaning for kind = \"{profile.kind}\"")
    settings = profile.adb
    if settings and settings.runner == "apk" and profile.cpu_mask is not None:
        raise UserError(f"{shown}: 'cpu_mask' has no effect on adb.runner = \"apk\"; remove it")
    if settings and settings.runner == "apk" and settings.push_binary is not None:
        raise UserError(f"{shown}: 'adb.push_binary' is not used by adb.runner = \"apk\"")
    return profile


class _Reader:
    """Turns the tables of one file into dataclasses; errors name file and key."""

    def __init__(self, shown: str, folder: Path) -> None:
        self.shown = shown
        self.folder = folder

    def error(self, key: str, value: object, accepted: str) -> UserError:
        return UserError(f"{self.shown}: '{key}' is {value!r}; accepted: {accepted}")

    def make(self, kind: type[T], table: object, prefix: str, readers: Mapping[str, _Read]) -> T:
        if not isinstance(table, dict):
            raise self.error(prefix.rstrip("."), table, "a table")
        for key in table:
            if key not in readers:
                known = [name for name in readers if name != "name"]
                raise UserError(f"{self.shown}: {unknown_name('key', prefix + key, known)}")
        for entry in fields(kind):  # type: ignore[arg-type]  # it is always a dataclass
            required = entry.default is MISSING and entry.default_factory is MISSING
            if required and entry.name not in table:
                raise UserError(f"{self.shown}: '{prefix}{entry.name}' is missing")
        values = {key: readers[key](self, prefix + key, value) for key, value in table.items()}
        return kind(**values)


_Read = Callable[[_Reader, str, Any], Any]


def _text(reader: _Reader, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise reader.error(key, value, "a text that is not empty")
    return value


def _choice(*choices: str) -> _Read:
    def read(reader: _Reader, key: str, value: object) -> str:
        if value not in choices:
            raise reader.error(key, value, " or ".join(f'"{choice}"' for choice in choices))
        return str(value)

    return read


def _kind(reader: _Reader, key: str, value: object) -> str:
    return str(_choice(*DEVICE_KINDS)(reader, key, value))


def _number(reader: _Reader, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise reader.error(key, value, "a number above 0")
    return float(value)


def _count(reader: _Reader, key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
        raise reader.error(key, value, "a whole number from 1")
    return value


def _mask(reader: _Reader, key: str, value: object) -> str:
    if not isinstance(value, str) or not _MASK.fullmatch(value) or int(value, 16) == 0:
        raise reader.error(key, value, 'a hexadecimal text with at least one core, such as "70"')
    return f"{int(value, 16):x}"  # taskset of phones takes no 0x


def _remote(reader: _Reader, key: str, value: object) -> str:
    if not isinstance(value, str) or not _REMOTE_PATH.fullmatch(value) or ".." in value:
        raise reader.error(
            key, value, "a full path on the phone, of letters, digits, '_', '-', '.' and '/'"
        )
    return value.rstrip("/")


def _host_path(reader: _Reader, key: str, value: object) -> Path:
    path = reader.folder / Path(_text(reader, key, value)).expanduser()
    if not path.is_file():
        raise reader.error(key, value, f"a file on this machine; there is no {path}")
    return path


def _texts(reader: _Reader, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise reader.error(key, value, "a list of texts")
    return tuple(value)


def _delegates(reader: _Reader, key: str, value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not value:
        raise reader.error(key, value, "a table of delegates, each with a list of flags")
    found = {}
    for name, flags in value.items():
        found[name] = _texts(reader, f"{key}.{name}", flags)
        for flag in found[name]:
            if not _FLAG.fullmatch(flag):
                raise reader.error(f"{key}.{name}", flag, "flags such as --use_gpu=true")
        if (name == "cpu") != (not found[name]):
            raise reader.error(
                f"{key}.{name}", flags, "no flags for cpu, at least one for any other delegate"
            )
    return found


_ADB: dict[str, _Read] = {
    "transport": _choice("adb-shell", "adbutils"),
    "serial": _text,
    "address": _text,  # its form is checked where it is used: the command line gives some too
    "models": _texts,
    "binary": _remote,
    "push_binary": _host_path,
    "runner": _choice("binary", "apk"),
    "folder": _remote,
}
_THERMAL: dict[str, _Read] = {"max_celsius": _number, "wait_s": _number}
_PROFILE: dict[str, _Read] = {
    "name": _text,
    "title": _text,
    "kind": _kind,
    "threads": _count,
    "cpu_mask": _mask,
    "delegates": _delegates,
    "adb": lambda reader, key, value: reader.make(AdbSettings, value, f"{key}.", _ADB),
    "thermal": lambda reader, key, value: reader.make(ThermalGate, value, f"{key}.", _THERMAL),
}
