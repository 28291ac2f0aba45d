"""The program ``brpnas``: its commands, and what becomes of errors."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from brpnas import __version__
from brpnas.cli._output import error_line, printable
from brpnas.cli.compare import compare
from brpnas.cli.compress import compress
from brpnas.cli.datasets import datasets
from brpnas.cli.devices import devices
from brpnas.cli.doctor import doctor
from brpnas.cli.evaluate import evaluate
from brpnas.cli.fpga import fpga
from brpnas.cli.measure import measure
from brpnas.cli.models import models
from brpnas.cli.predict import predict
from brpnas.cli.report import report
from brpnas.cli.search import search
from brpnas.cli.train import train
from brpnas.errors import UserError

__all__ = ["app", "main"]


_GIVEN = "brpnas.given"


class _Program(TyperGroup):
    """Ends with status 2 and one line for the user's errors, 130 for Ctrl-C."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - see below
        """Keep what was given, for `invoke`."""
        ctx.meta[_GIVEN] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer has its own or click's context
        """Run a command."""
        try:
            _refuse_empty(ctx.meta[_GIVEN])
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"error: {error_line(error)}", err=True)
            sys.exit(2)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone; typer knows
                raise
            typer.echo(f"error: {error_line(error)}", err=True)
            sys.exit(2)
        except KeyboardInterrupt as interrupt:
            typer.echo(printable(f"interrupted {interrupt}"), err=True)
            sys.exit(130)


def _refuse_empty(given: Sequence[str]) -> None:
    """Refuse empty names, as of shell variables that are not set: they would count as not given."""
    for before, one in zip(("brpnas", *given), given, strict=False):
        if one == "" or (one.startswith("--") and one.endswith("=")):
            raise UserError(f"an empty text after {one.rstrip('=') or before}: name something")


app = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find the best network for hardware you own: measure a few, predict the rest, search.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


app.command()(search)
app.command()(train)
app.command()(predict)
app.command()(evaluate)
app.command()(compare)
app.command()(compress)
app.command()(measure)
app.command()(report)
app.command()(doctor)
app.add_typer(datasets, name="datasets")
app.add_typer(devices, name="devices")
app.add_typer(fpga, name="fpga")
app.add_typer(models, name="models")


def main() -> None:
    """Run the program ``brpnas``."""
    app()
