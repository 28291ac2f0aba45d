"""``brpnas datasets``: tables of measured networks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from brpnas.cli._executors import (
    RayAddress,
    executor_option,
    jobs_option,
    open_executor,
    refuse_other_executors,
)
from brpnas.cli._options import Json, NewTable
from brpnas.cli._output import note, print_json, progress_bar, show

__all__ = ["datasets"]

_Name = Annotated[
    str,
    typer.Argument(help="Name of a table that comes with the package, or a .parquet or .csv file."),
]

datasets = typer.Typer(
    no_args_is_help=True, help="List, describe, import and build tables of measured networks."
)


@datasets.command("list")
def list_tables(as_json: Json = False) -> None:
    """List the tables that come with the package, and the formats that can be imported."""
    from brpnas.datasets import FORMATS, embedded_names, open_table

    tables = {name: open_table(name) for name in embedded_names()}
    if as_json:
        print_json(
            {
                "tables": [
                    {"name": name, "title": table.card.title, "rows": len(table)}
                    for name, table in tables.items()
                ],
                "formats": list(FORMATS),
            }
        )
        return
    rows = [(name, len(table), table.card.title) for name, table in tables.items()]
    show("Tables that come with the package", ("name", "rows", "title"), rows)
    note(f"import reads: {', '.join(FORMATS)}")


@datasets.command()
def describe(name: _Name, as_json: Json = False) -> None:
    """Show a table's card, and count, minimum, median and maximum of every metric."""
    from brpnas.datasets import open_table

    table = open_table(name)
    card = asdict(table.card)
    notes = card.pop("columns")
    statistics = table.describe()
    if as_json:
        metrics = {
            str(column): {**values, "note": notes.get(column, "")}
            for column, values in statistics.to_dict("index").items()
        }
        content = {"name": table.name, "rows": len(table), "intact": table.intact()}
        print_json({**content, "card": card, "metrics": metrics})
        return
    intact = {True: "yes", False: "no: it was edited since", None: "unknown"}[table.intact()]
    facts = [(key, value) for key, value in card.items() if value]
    show(table.name, ("card", ""), [*facts, ("rows", len(table)), ("content as stamped", intact)])
    show(
        "Metrics",
        ("column", *statistics.columns, "note"),
        [
            (column, int(count), int(missing), low, median, high, notes.get(column, ""))
            for column, count, missing, low, median, high in statistics.itertuples()
        ],
    )


@datasets.command("import")
def import_table(
    format_name: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="latbench, nasbench101, nasbench201, natsbench, hwnasbench or help.",
        ),
    ],
    path: Annotated[Path, typer.Argument(help="The published file or folder.")],
    out: NewTable,
    as_json: Json = False,
) -> None:
    """Turn a published file into a table. Pickles are read without running what is in them."""
    from brpnas.datasets import check_writable, importer, write_table

    read = importer(format_name)
    check_writable(out)
    with progress_bar(f"reading {path.name}"):
        table = read(path)
    write_table(table, out)
    if as_json:
        print_json({"out": str(out), "rows": len(table), "metrics": table.metrics})
    else:
        note(f"{out}: {len(table)} networks, {', '.join(table.metrics)}")


@datasets.command()
def build(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What to build: digits201.")],
    out: NewTable,
    work: Annotated[
        Path, typer.Option(help="Folder of single results: a build that was stopped goes on here.")
    ],
    executor: Annotated[str | None, executor_option("Where to train", "processes")] = None,
    jobs: Annotated[int | None, jobs_option("Cells trained")] = None,
    ray_address: RayAddress = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each cell, averaged.")] = 2,
    cells: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first so many, to try it.", show_default="all 5,044"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the table that comes with the package: train every distinct cell on small digits.

    Takes about 70 minutes on two cores.
    """
    from brpnas.datasets import check_writable, write_table
    from brpnas.evaluate.digits201 import build_digits201
    from brpnas.resolver import resolve

    make = resolve("table to build", name, {"digits201": build_digits201})
    check_writable(out)
    refuse_other_executors(ctx, executor)
    with (
        open_executor(executor, jobs, ray_address) as where,
        progress_bar("cells", cells) as progress,
    ):
        table = make(work, where, seeds, cells, progress)
    write_table(table, out)
    if as_json:
        print_json({"out": str(out), "rows": len(table), "metrics": table.metrics})
    else:
        note(f"{out}: {len(table)} cells")
