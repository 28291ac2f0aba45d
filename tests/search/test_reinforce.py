from __future__ import annotations

import pytest

from brpnas.search import Observation, Problem, RandomSearch, Reinforce, Strategy, search
from brpnas.spaces import Cell, NASBench201
from brpnas.testing import StrategyContract, SyntheticEvaluator, synthetic_problem

SPACE = NASBench201()


class TestReinforce(StrategyContract):
    def strategy(self, problem: Problem[Cell], seed: int, budget: int) -> Strategy[Cell]:  # noqa: ARG002
        return Reinforce(problem, seed)


def asked(scale: float) -> list[Cell]:
    """Return what is asked for when the objective is the sum of the options."""
    strategy = Reinforce(Problem(SPACE, list(SPACE), "accuracy"), seed=0)
    archs: list[Cell] = []
    for _ in range(100):
        (candidate,) = strategy.ask(1)
        archs.append(candidate.arch)
        objective = scale * sum(SPACE.encode(candidate.arch))
        strategy.tell([Observation(candidate.arch, objective, {})])
    return archs


def test_unit_of_the_objective_does_not_matter() -> None:
    assert asked(1.0) == asked(0.01)


def test_policy_learns() -> None:
    sums = [sum(SPACE.encode(arch)) for arch in asked(1.0)]
    assert sum(sums[60:80]) > 1.3 * sum(sums[:20])


def test_beats_random() -> None:
    problem = synthetic_problem(1000)
    evaluator = SyntheticEvaluator()
    wins = 0
    for seed in range(5):
        found = search(problem, Reinforce(problem, seed), evaluator, 150)
        baseline = search(problem, RandomSearch(problem, seed), evaluator, 150)
        wins += found.metrics["accuracy_pct"] > baseline.metrics["accuracy_pct"]
    assert wins >= 4


@pytest.mark.parametrize("at_once", [1, 4])
def test_networks_at_once(at_once: int) -> None:
    strategy = Reinforce(Problem(SPACE, list(SPACE), "accuracy"), 0, at_once=at_once)
    assert len(strategy.ask(10)) == at_once
