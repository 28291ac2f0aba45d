"""``brpnas devices``: hardware that networks can be measured on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from brpnas.cli._options import Json
from brpnas.cli._output import print_json, show
from brpnas.errors import UserError

__all__ = ["devices"]

_Device = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Name from `brpnas devices list`, or a .toml file.")
]

devices = typer.Typer(
    no_args_is_help=True, help="List, describe and check devices that networks run on."
)


@devices.command("list")
def list_devices(as_json: Json = False) -> None:
    """List the devices that are known by name: built-in profiles, and kinds of other packages."""
    from brpnas.devices.profile import profile_names, read_profile

    profiles = [read_profile(name) for name in profile_names()]
    if as_json:
        entries = [
            {
                "name": profile.name,
                "title": profile.title,
                "kind": profile.kind,
                "delegates": list(profile.delegates),
            }
            for profile in profiles
        ]
        print_json({"devices": entries})
        return
    rows = [
        (profile.name, profile.kind, ", ".join(profile.delegates), profile.title)
        for profile in profiles
    ]
    show("Devices that are known by name", ("name", "kind", "runs on", "title"), rows)


@devices.command()
def describe(device: _Device, as_json: Json = False) -> None:
    """Show what a profile says."""
    from brpnas.devices.profile import read_profile

    profile = read_profile(device)
    content = asdict(profile)
    if profile.adb is not None and profile.adb.push_binary is not None:
        content["adb"]["push_binary"] = str(profile.adb.push_binary)
    if as_json:
        print_json(content)
        return
    rows: list[tuple[str, object]] = []
    for key, value in content.items():
        if key == "delegates":
            rows += [(f"delegates.{name}", " ".join(flags)) for name, flags in value.items()]
        elif isinstance(value, dict):
            rows += [(f"{key}.{inner}", _shown(item)) for inner, item in value.items()]
        else:
            rows.append((key, _shown(value)))
    show(profile.name, ("key", "value"), rows)


def _shown(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


@devices.command()
def doctor(
    device: _Device,
    serial: Annotated[
        str | None, typer.Option(help="Of the phone, where several are connected.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of a phone on the network.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Connect to a device, and say what measuring on it lacks and how to put it right.

    The exit status is 1 where a problem keeps it from measuring.
    """
    from brpnas.devices.doctor import examine
    from brpnas.devices.profile import read_profile

    profile = read_profile(device)
    if profile.kind == "local" and (serial or address):
        raise UserError(f"--serial and --address name a phone; '{device}' is this machine")
    checks = examine(profile, serial=serial, address=address)
    problems = sum(check.state == "problem" for check in checks)
    if as_json:
        entries = [asdict(check) for check in checks]
        print_json({"device": profile.name, "problems": problems, "checks": entries})
    else:
        rows = [(check.name, check.state, check.found, check.fix) for check in checks]
        show(f"{profile.name}: {profile.title}", ("check", "state", "found", "what to do"), rows)
    if problems:
        raise typer.Exit(1)
