from brpnas.predictors import PREDICTORS, Predictor
from brpnas.testing import PredictorContract

from brpnas_example.predictor import Ridge


class TestRidge(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return Ridge(seed)


def test_it_is_found_by_its_name() -> None:
    assert PREDICTORS["ridge"].regressor is PREDICTORS["ridge"].ranker is Ridge
