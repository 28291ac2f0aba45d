"""Strategies that search for a whole front of low-rank networks: the best at every cost."""

from brpnas.plugins import Registry, subclass_of
from brpnas.search.fronts._additive import Additive, OptionCosts
from brpnas.search.fronts._knapsack import least_damage
from brpnas.search.fronts._scouting import scout
from brpnas.search.fronts.brp import BRPFront
from brpnas.search.fronts.evolution import EvolutionFront
from brpnas.search.fronts.gradient import GradientFront
from brpnas.search.fronts.greedy import Greedy
from brpnas.search.fronts.knapsack import Knapsack
from brpnas.search.fronts.random import RandomFront
from brpnas.search.strategy import Strategy
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = [
    "FRONT_STRATEGIES",
    "Additive",
    "BRPFront",
    "EvolutionFront",
    "GradientFront",
    "Greedy",
    "Knapsack",
    "OptionCosts",
    "RandomFront",
    "least_damage",
    "scout",
]

FRONT_STRATEGIES: Registry[type[Strategy[LowRankNetwork]]] = Registry(
    "strategy",
    "brpnas.front_strategies",
    subclass_of(Strategy),
    {
        "brp": "brpnas.search.fronts.brp:BRPFront",
        "gradient": "brpnas.search.fronts.gradient:GradientFront",
        "greedy": "brpnas.search.fronts.greedy:Greedy",
        "knapsack": "brpnas.search.fronts.knapsack:Knapsack",
        "evolution": "brpnas.search.fronts.evolution:EvolutionFront",
        "random": "brpnas.search.fronts.random:RandomFront",
    },
)
"""The strategies for a front by the name that the user types."""
