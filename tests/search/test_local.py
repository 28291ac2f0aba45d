from __future__ import annotations

from brpnas.search import LocalSearch, Observation, Problem, Strategy
from brpnas.spaces import Cell, NASBench201
from brpnas.testing import StrategyContract

SPACE = NASBench201()


class TestLocalSearch(StrategyContract):
    def strategy(self, problem: Problem[Cell], seed: int, budget: int) -> Strategy[Cell]:  # noqa: ARG002
        return LocalSearch(problem, seed)


def tell(strategy: Strategy[Cell], arch: Cell) -> None:
    """The objective has one optimum: operation 3 everywhere."""
    distance = sum(abs(option - 3) for option in SPACE.encode(arch))
    strategy.tell([Observation(arch, -float(distance), {})])


def test_climbs_to_the_optimum_then_restarts() -> None:
    local = LocalSearch(Problem(SPACE, list(SPACE), "accuracy"), seed=0)
    path: list[tuple[str, Cell]] = []
    while not path or path[-1][0] != "random" or len(path) == 1:
        (candidate,) = local.ask(10)
        path.append((candidate.origin, candidate.arch))
        tell(local, candidate.arch)
    seen = [arch for _, arch in path[:-1]]
    optimum = SPACE.decode((3,) * 6)
    assert optimum in seen
    assert set(SPACE.neighbours(optimum)) <= set(seen)  # none was better: hence the restart
    assert candidate.iteration == 1


def test_moves_to_the_first_better_neighbour() -> None:
    local = LocalSearch(Problem(SPACE, list(SPACE), "accuracy"), seed=0)
    (start,) = local.ask(1)
    local.tell([Observation(start.arch, 1.0, {})])
    (first,) = local.ask(1)
    local.tell([Observation(first.arch, 2.0, {})])
    (second,) = local.ask(1)
    assert first.arch in SPACE.neighbours(start.arch)
    assert second.arch in SPACE.neighbours(first.arch)


def test_several_neighbours_at_once() -> None:
    local = LocalSearch(Problem(SPACE, list(SPACE), "accuracy"), seed=0, at_once=5)
    (start,) = local.ask(100)
    tell(local, start.arch)
    assert len(local.ask(100)) == 5
