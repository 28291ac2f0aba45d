"""How to choose: the problem, the strategies and the loop that runs them."""

from typing import Any

from brpnas.plugins import Registry, subclass_of
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

STRATEGIES: Registry[type[Strategy[Any]]] = Registry(
    "strategy",
    "brpnas.strategies",
    subclass_of(Strategy),
    {
        "brp": "brpnas.search.brp:BRPSearch",
        "random": "brpnas.search.random:RandomSearch",
        "evolution": "brpnas.search.evolution:Evolution",
        "local": "brpnas.search.local:LocalSearch",
        "reinforce": "brpnas.search.reinforce:Reinforce",
    },
)
"""The strategies for one answer by the name that the user types."""
