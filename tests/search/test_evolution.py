from __future__ import annotations

from brpnas.search import Evolution, Observation, Problem, RandomSearch, Strategy, search
from brpnas.spaces import Cell, NASBench201
from brpnas.testing import StrategyContract, SyntheticEvaluator, synthetic_problem


class TestEvolution(StrategyContract):
    def strategy(self, problem: Problem[Cell], seed: int, budget: int) -> Strategy[Cell]:  # noqa: ARG002
        return Evolution(problem, seed)


def test_beats_random() -> None:
    problem = synthetic_problem(1000)
    evaluator = SyntheticEvaluator()
    wins = 0
    for seed in range(5):
        found = search(problem, Evolution(problem, seed), evaluator, 100)
        baseline = search(problem, RandomSearch(problem, seed), evaluator, 100)
        wins += found.metrics["accuracy_pct"] > baseline.metrics["accuracy_pct"]
    assert wins >= 4


def test_children_are_mutations_of_the_best_and_the_oldest_dies() -> None:
    space = NASBench201()
    problem = Problem(space, list(space), "accuracy")
    # With so large samples the parent is the best member alive.
    evolution = Evolution(problem, 0, population=4, sample_size=100)
    start = [candidate.arch for candidate in evolution.ask(100)]
    assert len(start) == 4
    merits = [90.0, 1.0, 2.0, 3.0]
    evolution.tell([Observation(a, m, {}) for a, m in zip(start, merits, strict=True)])
    (child,) = evolution.ask(100)
    assert child.origin == "mutation"
    assert child.arch in space.neighbours(start[0])
    evolution.tell([Observation(child.arch, 50.0, {})])
    (grandchild,) = evolution.ask(100)  # the first network has died: its child is the best
    assert grandchild.arch in space.neighbours(child.arch)


def test_several_children_at_once() -> None:
    evolution = Evolution(synthetic_problem(), 0, population=4, at_once=3)
    start = evolution.ask(100)
    evolution.tell([Observation(candidate.arch, 1.0, {}) for candidate in start])
    assert len(evolution.ask(100)) == 3
    assert len(evolution.ask(2)) == 2
