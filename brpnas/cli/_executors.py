"""Where independent work runs: the options of it, and what they open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brpnas.cli._output import refuse

if TYPE_CHECKING:
    from brpnas.executors import Executor

__all__ = [
    "RayAddress",
    "count_workers",
    "executor_option",
    "jobs_option",
    "open_executor",
    "ray_option",
    "refuse_other_executors",
]


# Commands say something of their own of each. They return Any, as typer's do.
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


def refuse_other_executors(ctx: typer.Context, executor: str | None) -> None:
    """Refuse options that mean nothing to this executor."""
    if executor == "inline":
        refuse(ctx, "jobs", "--executor processes and ray")
    if executor != "ray":
        refuse(ctx, "ray_address", "--executor ray")


def count_workers(executor: str | None, jobs: int | None) -> int | None:
    """Return how many items are to be under way at a time; None: one, or as Ray has cores."""
    from brpnas.executors import usable_cores

    if executor in ("inline", "ray"):
        return jobs
    return jobs or usable_cores()


def open_executor(executor: str | None, jobs: int | None, address: str | None) -> Executor:
    """Return what runs independent work; if none is named, one job at a time stays here.

    Raises:
        UserError: unknown name, Ray is missing or cannot be reached.
    """
    from brpnas.resolver import make_executor

    workers = count_workers(executor, jobs)
    return make_executor(executor or ("inline" if workers == 1 else "processes"), workers, address)
