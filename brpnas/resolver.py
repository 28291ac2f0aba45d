"""Strings to objects, at the edge of the program: names that users type, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from brpnas.datasets import Table
from brpnas.errors import UserError, unknown_name
from brpnas.executors import Executor, InProcess, Processes, RayCluster
from brpnas.plugins import Registry, call_with, subclass_of
from brpnas.predictors import PREDICTORS
from brpnas.search import STRATEGIES, BRPSchedule, Problem, Strategy
from brpnas.spaces import FiniteSpace

__all__ = ["EXECUTORS", "SPACES", "make_executor", "make_strategy", "parse_archs", "resolve"]

T = TypeVar("T")


def _space(name: str, found: Any) -> type[FiniteSpace[Any]]:  # noqa: ANN401 - of a package
    kind: type[FiniteSpace[Any]] = subclass_of(FiniteSpace)(name, found)
    if (own := getattr(kind, "name", None)) != name:  # tables and predictors are marked with it
        raise TypeError(f"has the name '{own}'; accepted: '{name}', as its entry point")
    return kind


SPACES: Registry[type[FiniteSpace[Any]]] = Registry(
    "space",
    "brpnas.spaces",
    _space,
    {
        "nasbench101": "brpnas.spaces.nasbench101:NASBench101",
        "nasbench201": "brpnas.spaces.nasbench201:NASBench201",
    },
)
"""The spaces by the name that the user types; made without arguments."""

EXECUTORS: dict[str, Callable[[int | None, str | None], Executor]] = {
    "inline": lambda _workers, _address: InProcess(),
    "processes": lambda workers, _address: Processes(workers or 1),
    "ray": RayCluster,
}
"""The executors by the name that the user types; each is made of workers and address."""


def resolve(kind: str, name: str, choices: Mapping[str, T]) -> T:
    """Return what a name stands for.

    Args:
        kind: what is named, such as ``"strategy"``.
        name: as the user typed it.
        choices: what there is.

    Raises:
        UserError: no such name; lists the choices and suggests the nearest.
    """
    if name not in choices:
        raise unknown_name(kind, name, choices)
    return choices[name]


def make_executor(name: str, workers: int | None, address: str | None = None) -> Executor:
    """Make an executor.

    Args:
        name: ``inline`` (one item after the other, in this process), ``processes`` (on this
            machine) or ``ray``.
        workers: items under way at a time; ``inline`` has no choice; None: as many as the cluster
            has cores.
        address: of the Ray cluster to join; None: an instance of Ray on this machine.

    Raises:
        UserError: unknown name, an address for another executor than ``ray``, Ray is missing or
            cannot be reached.
    """
    make = resolve("executor", name, EXECUTORS)
    if address is not None and name != "ray":
        raise UserError(f"the address {address} goes with the executor 'ray', not '{name}'")
    try:
        return make(workers, address)
    except (ImportError, ConnectionError) as error:
        raise UserError(str(error)) from error


def make_strategy(
    name: str,
    problem: Problem[Any],
    seed: int,
    schedule: BRPSchedule,
    predictor: str,
    at_once: int = 1,
    quantile: float = 0.5,
) -> Strategy[Any]:
    """Make a strategy: its constructor gets the problem, the seed and what else it asks for.

    What it may ask for, as parameters of these names: ``schedule``; ``ranker`` and ``latency``
    (functions from a seed to a fresh predictor); ``at_once``; ``quantile``.

    Args:
        name: of the strategy.
        problem: what is searched.
        seed: of all random choices.
        schedule: how the budget is divided.
        predictor: name of the family of predictors.
        at_once: networks asked for before the first of them is known, by strategies that
            otherwise wait for each.
        quantile: of the cost predictor's errors, by which to keep away from limits.

    Raises:
        UserError: unknown name of strategy or predictor.
    """
    family = resolve("predictor", predictor, PREDICTORS)
    return call_with(
        resolve("strategy", name, STRATEGIES),
        problem,
        seed,
        schedule=schedule,
        ranker=family.ranker,
        latency=family.regressor,
        at_once=at_once,
        quantile=quantile,
    )


def parse_archs(table: Table, space: FiniteSpace[Any]) -> list[Any]:
    """Return the architecture of every row of a table.

    Raises:
        UserError: the table's card names another space, or an architecture is not one of the
            space's; names the row.
    """
    if table.card.space not in ("", space.name):
        raise UserError(
            f"{table.name}: holds networks of space '{table.card.space}', not '{space.name}'"
        )
    archs = []
    for row, text in enumerate(table.archs, start=1):
        try:
            arch = space.parse(text)
        except UserError as error:
            raise UserError(f"{table.name}: row {row}, column 'arch': {error}") from None
        if str(arch) != text:  # tables are looked up by the literal text
            raise UserError(
                f"{table.name}: row {row}, column 'arch': '{text[:200]}' must be written '{arch}'"
            )
        archs.append(arch)
    return archs
