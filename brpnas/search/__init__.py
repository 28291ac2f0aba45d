"""How to choose: the problem, the strategies and the loop that runs them."""

from typing import Any

from brpnas.search.brp import BRPSchedule, BRPSearch
from brpnas.search.evolution import Evolution
from brpnas.search.front_problem import FrontMember, FrontProblem, FrontResult, on_front
from brpnas.search.local import LocalSearch
from brpnas.search.loop import Task, search
from brpnas.search.problem import (
    Candidate,
    Constraint,
    Observation,
    Problem,
    SearchResult,
    check_reachable,
)
from brpnas.search.random import RandomSearch
from brpnas.search.reinforce import Reinforce
from brpnas.search.strategy import Strategy

__all__ = [
    "STRATEGIES",
    "BRPSchedule",
    "BRPSearch",
    "Candidate",
    "Constraint",
    "Evolution",
    "FrontMember",
    "FrontProblem",
    "FrontResult",
    "LocalSearch",
    "Observation",
    "Problem",
    "RandomSearch",
    "Reinforce",
    "SearchResult",
    "Strategy",
    "Task",
    "check_reachable",
    "on_front",
    "search",
]

STRATEGIES: dict[str, type[Strategy[Any]]] = {
    "brp": BRPSearch,
    "random": RandomSearch,
    "evolution": Evolution,
    "local": LocalSearch,
    "reinforce": Reinforce,
}
"""The built-in strategies by the name that the user types."""
