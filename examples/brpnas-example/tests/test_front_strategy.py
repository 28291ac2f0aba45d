from brpnas.search import Strategy
from brpnas.search.fronts import FRONT_STRATEGIES
from brpnas.spaces import LowRankNetwork
from brpnas.testing import FrontStrategyContract, SyntheticFront

from brpnas_example.front_strategy import Sprinkle


class TestSprinkle(FrontStrategyContract):
    def strategy(self, front: SyntheticFront, seed: int, budget: int) -> Strategy[LowRankNetwork]:
        return Sprinkle(front.problem, seed, budget)


def test_it_is_found_by_its_name() -> None:
    assert FRONT_STRATEGIES["sprinkle"] is Sprinkle
