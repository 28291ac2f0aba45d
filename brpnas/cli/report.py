"""``brpnas report``: the page of a run once more, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brpnas.cli._options import Json
from brpnas.cli._output import note, print_json

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Run folders of `brpnas search` and `brpnas compare`, designs of `brpnas fpga "
            "map` (.json), tables of `brpnas measure` (.parquet, .csv).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Page to write: .html; one that is there is replaced.",
            show_default="in the run folder, or beside the file; comparison.html for several",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the page of a run again, or one page that compares several."""
    from brpnas.report import write_reports

    page = write_reports(runs, out)
    if as_json:
        print_json({"report": str(page), "runs": [str(run) for run in runs]})
    else:
        note(f"report: {page}")
