"""NSGA-II."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.config import Config
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import Problem as Bounds
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.pm import PolynomialMutation
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.problems.static import StaticProblem

from brpnas.search.front_problem import FrontProblem
from brpnas.search.fronts._places import Translator, dense_first, dense_last, space_of
from brpnas.search.fronts._sampling import outside_span, sample
from brpnas.search.problem import Candidate, Observation
from brpnas.search.strategy import Strategy
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["EvolutionFront"]

Config.warnings["not_compiled"] = False  # it would print among the results

_BARREN = 100
"""Generations in a row without a new network, after which there are thought to be none."""
_FAILED = 1e3
"""How far outside the span a network without an objective is taken to be."""


class EvolutionFront(Strategy[LowRankNetwork]):
    """Breeds a population towards high objectives and low costs at once.

    NSGA-II of Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
    Transactions on Evolutionary Computation 2002, as pymoo implements it (Blank and Deb, "pymoo:
    multi-objective optimization in Python", IEEE Access 2020). A gene says where a layer's option
    stands in the space's order (`dense_last`); crossover is uniform. The span is a constraint:
    networks outside are the worse the further away they are. Those whose cost is known to lie
    outside are not asked for, and none is asked for twice: the population is told what is known
    of them.

    Args:
        problem: what is searched.
        seed: of all random choices.
        budget: networks to ask for; decides the population.
    """

    def __init__(self, problem: FrontProblem[LowRankNetwork], seed: int, budget: int) -> None:
        self._problem = problem
        self._left = budget
        self._translator = Translator(space_of(problem))
        first = sample(problem, min(max(4, budget // 4), 40, budget), np.random.default_rng(seed))
        self._algorithm = NSGA2(
            pop_size=len(first),
            sampling=dense_last(self._translator.places(first), self._translator.sizes),
            crossover=UniformCrossover(),
            mutation=PolynomialMutation(eta=3),
            repair=RoundingRepair(),
            seed=seed,
        )
        greatest = self._translator.sizes - 1
        self._bounds = Bounds(
            len(greatest), 2, 1, xl=np.zeros_like(greatest), xu=greatest, vtype=int
        )
        self._algorithm.setup(self._bounds, termination=NoTermination())
        self._bred: Any = None  # pymoo's population that waits for its metrics
        self._told: dict[LowRankNetwork, tuple[float, float]] = {}
        self._asked: set[LowRankNetwork] = set()
        self._plan: list[Candidate[LowRankNetwork]] = []
        self._iteration = -1

    def ask(self, n: int) -> list[Candidate[LowRankNetwork]]:
        """Return the next networks of the generation; it is complete before the next is bred."""
        for _ in range(_BARREN):
            if self._plan or not self._left:
                break
            self._breed()
        asked, self._plan = self._plan[: min(n, self._left)], self._plan[n:]
        self._left -= len(asked)
        return asked

    def tell(self, observations: Sequence[Observation[LowRankNetwork]]) -> None:
        """Keep the results until the generation is complete."""
        for seen in observations:
            share = self._problem.share(seen)
            if np.isfinite(seen.objective) and np.isfinite(share):
                self._told[seen.arch] = (seen.objective, share)

    def _breed(self) -> None:
        """Tell pymoo of the last generation, and plan what is new in the next one."""
        if self._bred is not None:
            archs = self._bred_archs()
            objectives, outside = zip(*map(self._judge, archs), strict=True)
            told = StaticProblem(self._bounds, F=np.array(objectives), G=np.array(outside)[:, None])
            Evaluator().eval(told, self._bred)
            self._algorithm.tell(infills=self._bred)
        self._bred = self._algorithm.ask()
        if self._bred is None:  # no child differs from its parents
            self._left = 0
            return
        self._iteration += 1
        for arch in self._bred_archs():
            inside = self._problem.known is None or not outside_span(self._problem, arch)
            # What was drawn at first is asked for even if nothing lies within the span.
            if arch not in self._asked and (inside or not self._iteration):
                self._asked.add(arch)
                origin = "mutation" if self._iteration else "random"
                self._plan.append(Candidate(arch, origin, self._iteration))

    def _bred_archs(self) -> list[LowRankNetwork]:
        genes = np.asarray(self._bred.get("X"), dtype=np.int64)
        return self._translator.archs(dense_first(genes, self._translator.sizes))

    def _judge(self, arch: LowRankNetwork) -> tuple[tuple[float, float], float]:
        """Return what is to be minimised, and by how much a network lies outside the span."""
        if arch in self._told:
            objective, share = self._told[arch]
            least, greatest = self._problem.span
            return (-objective, share), max(least - share, share - greatest, 0.0)
        failed = arch in self._asked or self._problem.known is None
        return (0.0, 0.0), _FAILED if failed else outside_span(self._problem, arch)
