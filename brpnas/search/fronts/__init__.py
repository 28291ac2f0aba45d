"""Strategies that search for a whole front of low-rank networks: the best at every cost."""

from brpnas.search.fronts._additive import Additive
from brpnas.search.fronts._knapsack import least_damage
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
    "RandomFront",
    "least_damage",
]

FRONT_STRATEGIES: dict[str, type[Strategy[LowRankNetwork]]] = {
    "brp": BRPFront,
    "gradient": GradientFront,
    "greedy": Greedy,
    "knapsack": Knapsack,
    "evolution": EvolutionFront,
    "random": RandomFront,
}
"""The built-in strategies by the name that the user types."""
