"""What of brpnas is installed on this machine, and what is missing to use the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from brpnas.devices.doctor import Check, examine
from brpnas.devices.profile import read_profile
from brpnas.errors import UserError, extra_hint, one_line
from brpnas.plugins import Registry

__all__ = ["check_installation"]

_EXTRAS = {
    "measure": "times networks on this machine and on phones; TFLite files",
    "convert": "any torch module to TFLite",
    "onnx": "reads and writes ONNX files",
    "adbutils": "phones through an adb server",
    "ray": "a cluster as executor",
}
"""What each extra is for."""
_LOW_SPACE_GB = 1.0


def check_installation() -> list[Check]:
    """Look at all that brpnas needs on this machine, without connecting to any device.

    Besides the states of `Check`, an extra that is not there is ``"absent"``: nothing is wrong,
    but what it is for cannot be done.
    """
    looks: list[Callable[[], Iterator[Check]]] = [
        *(_program, _packages, _torch, _extras, _plugins, _tables, _network),
        *(_measuring, _phones, _folder),
    ]
    return [check for look in looks for check in look()]


def _program() -> Iterator[Check]:
    version = importlib.metadata.version("brpnas")
    yield Check("brpnas", "ok", f"{version} in {Path(__file__).parents[1]}")
    known = sys.platform in ("linux", "darwin")
    yield Check(
        "system",
        "ok" if known else "warning",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "" if known else "brpnas is made for Linux and macOS; take one of them",
    )


def _requirements(extra: str) -> list[Requirement]:
    """Return what an extra needs, those of other extras that it names included; "" is the core."""
    found = []
    for text in importlib.metadata.requires("brpnas") or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if (marker is None) != (extra == "") or (marker and not marker.evaluate({"extra": extra})):
            continue
        if requirement.name == "brpnas":
            found += [need for name in sorted(requirement.extras) for need in _requirements(name)]
        else:
            found.append(requirement)
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _missing(requirements: list[Requirement]) -> list[str]:
    """Say which packages are not there, or are there in another version."""
    missing = []
    for need in requirements:
        version = _version(need.name)
        if version is None:
            missing.append(f"no {need.name}")
        elif not need.specifier.contains(version, prereleases=True):
            missing.append(f"{need.name} {version}, not {need.specifier}")
    return missing


def _packages() -> Iterator[Check]:
    needed = _requirements("")
    missing = _missing(needed)
    yield Check(
        "packages",
        "problem" if missing else "ok",
        "; ".join(missing) or f"all {len(needed)} that brpnas needs",
        "install brpnas again (in its folder: pip install .)" if missing else "",
    )


def _torch() -> Iterator[Check]:
    try:
        import torch

        threads, gpu = torch.get_num_threads(), torch.cuda.is_available()
    except Exception as error:  # noqa: BLE001 - whatever a damaged installation does
        fix = "pip install --force-reinstall torch"
        yield Check("torch", "problem", f"cannot be loaded ({one_line(error)})", fix)
        return
    where = f"{threads} thread{'s' if threads > 1 else ''}, {'a' if gpu else 'no'} GPU"
    yield Check("torch", "ok", f"{torch.__version__}, {where}")


def _extras() -> Iterator[Check]:
    for extra, purpose in _EXTRAS.items():
        missing = _missing(_requirements(extra))
        found = "; ".join(missing) or f"installed: {purpose}"
        # A package that is there in another version may be what somebody else needs.
        other = any(not text.startswith("no ") for text in missing)
        state = "warning" if other else "absent" if missing else "ok"
        fix = f"{purpose}: {extra_hint(extra)}" if missing else ""
        yield Check(f"extra {extra}", state, found, fix)


def _plugins() -> Iterator[Check]:
    """Look at what other packages offer by entry points; each of them is imported."""
    from brpnas.devices.kinds import DEVICE_KINDS
    from brpnas.predictors import PREDICTORS
    from brpnas.resolver import SPACES
    from brpnas.search import STRATEGIES
    from brpnas.search.fronts import FRONT_STRATEGIES

    registries: list[Registry[Any]] = [
        *(SPACES, PREDICTORS, STRATEGIES, FRONT_STRATEGIES, DEVICE_KINDS)
    ]
    found, broken = [], []
    for registry in registries:
        for name in registry:
            try:
                package = registry.package(name)
                if package is not None:
                    registry[name]
                    found.append(f"{registry.kind} '{name}' of {package}")
            except UserError as error:
                broken.append(str(error))
    yield Check(
        "plug-ins",
        "warning" if broken else "ok",
        "; ".join(broken or found) or "none installed",
        "install another version of the package, or tell its author" if broken else "",
    )


def _tables() -> Iterator[Check]:
    from brpnas.datasets import embedded_names, open_table

    found, damaged = [], []
    for name in embedded_names():
        try:
            table = open_table(name)
        except UserError as error:
            damaged.append(str(error))
            continue
        if not table.intact():
            damaged.append(f"{name} was changed since it was made")
        found.append(f"{name} ({len(table):,} networks)")
    yield Check(
        "tables",
        "problem" if damaged else "ok",
        "; ".join(damaged) or ", ".join(found),
        "install brpnas again (in its folder: pip install .)" if damaged else "",
    )


def _network() -> Iterator[Check]:
    from brpnas.models import load_model

    try:
        load_model("digits-cnn")
    except UserError as error:
        fix = "install brpnas again (in its folder: pip install .)"
        yield Check("network", "problem", str(error), fix)
    else:
        yield Check("network", "ok", "digits-cnn, with weights")


def _measuring() -> Iterator[Check]:
    """Sum up what ``brpnas devices doctor local`` says."""
    checks = examine(read_profile("local"))
    worst = [check for check in checks if check.state == "problem"]
    doubtful = [check.name for check in checks if check.state == "warning"]
    if worst:
        yield Check("this machine", "absent", f"no {worst[0].name} to time with", worst[0].fix)
    elif doubtful:
        fix = "brpnas devices doctor local says what to do"
        yield Check("this machine", "warning", f"can time; look at {', '.join(doubtful)}", fix)
    else:
        yield Check("this machine", "ok", "can time networks")


def _phones() -> Iterator[Check]:
    ways = {
        "network": _version("adb-shell"),
        "USB": _version("adb-shell") and importlib.util.find_spec("usb1"),
        "adb server": _version("adbutils"),
    }
    there = [name for name, found in ways.items() if found]
    yield Check(
        "phones",
        "ok" if there else "absent",
        f"by {', '.join(there)}" if there else "no way to reach one",
        "brpnas devices doctor adb --address PHONE looks at one" if there else "",
    )


def _folder() -> Iterator[Check]:
    here = Path.cwd()
    free_gb = shutil.disk_usage(here).free / 1e9
    writable = os.access(here, os.W_OK)
    state = "ok" if writable and free_gb > _LOW_SPACE_GB else "warning"
    found = f"{here}, {free_gb:.1f} GB free" if writable else f"{here} cannot be written"
    fix = "go to another folder, or name one by --out" if state == "warning" else ""
    yield Check("this folder", state, found, fix)
