"""The program ``brpnas``: its commands, and what becomes of errors."""

from __future__ import annotations

import errno
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from brpnas import __version__
from brpnas.cli._output import printable
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


class _Program(TyperGroup):
    """Ends with status 2 and one line for the user's errors, 130 for Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer has its own or click's context
        """Run a command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"error: {printable(error)}", err=True)
            sys.exit(2)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone; typer knows
                raise
            typer.echo(f"error: {printable(error)}", err=True)
            sys.exit(2)
        except KeyboardInterrupt as interrupt:
            typer.echo(printable(f"interrupted {interrupt}"), err=True)
            sys.exit(130)


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
