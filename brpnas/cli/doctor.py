"""``brpnas doctor``: whether the installation is well, and what it lacks."""

from __future__ import annotations

from dataclasses import asdict

import typer

from brpnas.cli._options import Json
from brpnas.cli._output import note, print_json, show

__all__ = ["doctor"]


def doctor(as_json: Json = False) -> None:
    """Look at this installation: packages, extras, tables, and what could be measured on.

    No device is connected to; `brpnas devices doctor DEVICE` does that. The exit status is 1 where
    a problem keeps brpnas from working; an extra that is absent is none.
    """
    from brpnas.cli._installation import check_installation

    checks = check_installation()
    problems = sum(check.state == "problem" for check in checks)
    if as_json:
        print_json({"problems": problems, "checks": [asdict(check) for check in checks]})
    else:
        rows = [(check.name, check.state, check.found, check.fix) for check in checks]
        show("This installation", ("check", "state", "found", "what to do"), rows)
        if not problems:
            note("next: brpnas search --predictor gp, or brpnas devices doctor DEVICE")
    if problems:
        raise typer.Exit(1)
