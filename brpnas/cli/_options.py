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
    "SpaceName",
    "TableName",
    "ValidRows",
    "predictor_option",
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


def seed_option(of: str) -> Any:  # noqa: ANN401
    """Return the option of the seed: what is drawn with it."""
    return typer.Option(min=0, max=2**63 - 1, help=f"Of {of}.")
