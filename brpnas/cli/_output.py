"""What the commands print: one JSON object or tables on stdout, all else on stderr."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as TextTable

from brpnas.errors import UserError
from brpnas.values import finite, readable

__all__ = [
    "command_line",
    "error_line",
    "given",
    "left_line",
    "note",
    "number",
    "options_of",
    "print_json",
    "printable",
    "progress_bar",
    "recorded",
    "refuse",
    "show",
    "show_result",
]

_LOG_SECONDS = 30.0
_LONGEST = 2000  # characters of an error


def printable(text: object) -> str:
    """Return a text as one line without control characters: names in tables may be hostile."""
    line = " ".join(str(text).split())
    return "".join(character if character.isprintable() else "?" for character in line)


def error_line(error: object) -> str:
    """Return an error as one line of bounded length: it may quote names or values of any length.

    What is wrong comes first in errors, what is accepted last: the middle is left out.
    """
    line = printable(error)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 600]} ... {line[-500:]}"


def number(value: object) -> str:
    """Return a number as people read it, a dash where it is missing, other values as one line."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return readable(value)
    return printable(value)


def note(text: object) -> None:
    """Print a line for people, on stderr."""
    typer.echo(printable(text), err=True)


def print_json(content: Mapping[str, Any]) -> None:
    """Print a JSON object on one line of stdout; NaN and infinities become null."""
    typer.echo(json.dumps(finite(content), allow_nan=False))


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout."""
    table = TextTable()
    cells = [[number(value) for value in row] for row in rows]
    for place, column in enumerate(columns):
        # A number is not broken into two lines: half of it reads like another one.
        widths = [len(shown[place]) for shown, row in zip(cells, rows, strict=True)
                  if isinstance(row[place], int | float)]  # fmt: skip
        table.add_column(printable(column), overflow="fold", min_width=max(widths, default=None))
    for row in cells:
        table.add_row(*row)
    # Without markup, so that brackets in names stay what they are.
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(printable(title), soft_wrap=True)
    console.print(table)


def show_result(title: str, result: Mapping[str, Any], as_json: bool) -> None:
    """Print a flat result: as JSON, or as a table of two columns."""
    if as_json:
        print_json(result)
    else:
        show(title, ("measure", "value"), list(result.items()))


@contextlib.contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Callable[[float, int], None]]:
    """Show progress on stderr; yields a function to call with (done, total).

    On a terminal, a bar; in a log, a line every half minute.
    """
    console = Console(stderr=True, markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        noted = time.monotonic()

        def update(done: float, total: int) -> None:
            nonlocal noted
            progress.update(task, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - noted > _LOG_SECONDS:
                noted = time.monotonic()
                note(f"{what}: {done if isinstance(done, int) else round(done, 1)} of {total}")

        yield update


def left_line(name: str, why: str) -> str:
    """Say why a layer is not replaced; without a name, a parameter that no layer has."""
    what = f"layer '{name}'" if name else "a parameter of the network itself"
    return f"{what} stays as it is: {why}"


def refuse(ctx: typer.Context, name: str, owner: str) -> None:
    """Refuse an option that was given, as it would do nothing without another one.

    Args:
        ctx: the command's context.
        name: of the option's parameter.
        owner: the option that it goes with.
    """
    if given(ctx, name):
        (option,) = (one.opts[0] for one in ctx.command.params if one.name == name)
        raise UserError(f"{option} goes with {owner}")


def options_of(ctx: typer.Context, panel: str) -> list[str]:
    """Return the parameters' names of the options that help shows in this panel, in its order."""
    shown = (one for one in ctx.command.params if getattr(one, "rich_help_panel", None) == panel)
    return [str(one.name) for one in shown]


def given(ctx: typer.Context, name: str) -> bool:
    """Tell whether an option was given on the command line."""
    # By name: typer has its own copy of the enumeration of sources.
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def recorded(ctx: typer.Context, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of parameters as a run's record keeps them: paths as texts."""
    values = {name: ctx.params[name] for name in names}
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


def command_line(ctx: typer.Context, leave_out: Sequence[str]) -> str:
    """Return the command that was given, with every option that was, for a POSIX shell.

    Args:
        ctx: the command's context.
        leave_out: names of options that do not change the result.
    """
    words = ["brpnas", str(ctx.info_name)]
    for parameter in ctx.command.params:
        value = ctx.params.get(str(parameter.name))
        if parameter.name in leave_out or value is None or not given(ctx, str(parameter.name)):
            continue
        if isinstance(value, bool):
            names = parameter.opts if value else parameter.secondary_opts
            words += names[:1]
        else:
            several = value if isinstance(value, list | tuple) else [value]
            words += [word for each in several for word in (parameter.opts[0], str(each))]
    return shlex.join(words)
