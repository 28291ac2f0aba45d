from brpnas.search import STRATEGIES, Problem, Strategy
from brpnas.spaces import Cell
from brpnas.testing import StrategyContract

from brpnas_example.strategy import Climb


class TestClimb(StrategyContract):
    def strategy(self, problem: Problem[Cell], seed: int, budget: int) -> Strategy[Cell]:
        return Climb(problem, seed)


def test_it_is_found_by_its_name() -> None:
    assert STRATEGIES["climb"] is Climb
