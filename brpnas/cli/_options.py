"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from brpnas.cli._names import PREDICTOR_NAMES, SPACE_NAMES, either

__all__ = [
    "Json",
    "NewTable",
    "PredictorFolder",
    "RayAddress",
    "SpaceName",
    "TableName",
    "ValidRows",
    "executor_option",
    "jobs_option",
    "predictor_option",
    "ray_option",
    "seed_option",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
SpaceName = Annotated[str, typer.Option(help=f"Space of networks: {either(SPACE_NAMES)}.")]
TableName = Annotated[
    str,
    typer.Option(
        help="A .parquet or .csv file, or the name of a table that comes with the package."
    ),
]
NewTable = Annotated[Path, typer.Option(help="Table to write: .parquet or .csv.")]
PredictorFolder = Annotated[Path, typer.Option(help="Folder of a predictor, made by train.")]
ValidRows = Annotated[
    int,
    typer.Option(min=0, help="Random rows more; what it does with them depends on the predictor."),
]


# Those of which each command says something of its own. They return Any, as typer's do.
def predictor_option(what: str, more: str = "") -> Any:  # noqa: ANN401
    """Return the option of predictors' names: what for, and what else there is to say."""
    return typer.Option(help=f"{what}: {either(PREDICTOR_NAMES)}.{more}")


def executor_option(where: str, default: str | bool = True, panel: str | None = None) -> Any:  # noqa: ANN401
    """Return the option of where independent work runs: "Where to fit"."""
    return typer.Option(
        help=f"{where}: inline, processes or ray.", show_default=default, rich_help_panel=panel
    )


def ray_option(panel: str | None = None) -> Any:  # noqa: ANN401
    """Return the option of Ray's address."""
    return typer.Option(
        help="Ray cluster to join.", show_default="a local instance", rich_help_panel=panel
    )


RayAddress = Annotated[str | None, ray_option()]


def jobs_option(what: str, panel: str | None = None, default: str = "number of cores") -> Any:  # noqa: ANN401
    """Return the option of how much is done at the same time: "Cells trained"."""
    return typer.Option(
        min=1,
        help=f"{what} at the same time.",
        show_default=default,
        rich_help_panel=panel,
    )


def seed_option(of: str) -> Any:  # noqa: ANN401
    """Return the option of the seed: what is drawn with it."""
    return typer.Option(min=0, max=2**63 - 1, help=f"Of {of}.")
