"""The contract of a predictor, as tests."""
# ruff: noqa: S101 - asserts are what a test is made of

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.predictors import Predictor, SavablePredictor
from brpnas.spaces import Cell, Graph, GraphSchema, NASBench201
from brpnas.testing.synthetic import SyntheticEvaluator

__all__ = ["PredictorContract"]


class PredictorContract:
    """What every predictor has to do. To test one, subclass and override ``predictor``.

    What only those can do that can be saved is skipped for others.

    Attributes:
        correlation: least rank correlation with an additive metric of 120 networks that it has not
            seen, after as many that it has.
    """

    correlation = 0.8

    def predictor(self, seed: int) -> Predictor:
        """Return a fresh predictor."""
        raise NotImplementedError

    def networks(self, n: int) -> tuple[list[Graph], NDArray[np.float64]]:
        """Return graphs of one space and a metric of them, shape (n,), larger is better.

        Override it for a predictor that knows only its own space; otherwise they are cells of
        NAS-Bench-201.
        """
        return networks(n)

    def test_ranks_networks_it_has_not_seen(self) -> None:
        """Of an additive metric with little noise it learns most from 120 networks."""
        graphs, values = self.networks(240)
        predictor = self.predictor(seed=0).fit(graphs[:120], values[:120])
        order = predictor.rank(graphs[120:])
        assert sorted(order) == list(range(120))
        ranks = np.empty(120)
        ranks[order] = np.arange(120)[::-1]
        truth = values[120:].argsort().argsort()
        assert np.corrcoef(ranks, truth)[0, 1] > self.correlation

    def test_the_order_follows_the_predicted_mean(self) -> None:
        """The first of the ranking has the largest prediction."""
        graphs, values = self.networks(60)
        predictor = self.predictor(seed=0).fit(graphs[:40], values[:40])
        prediction = predictor.predict(graphs)
        assert prediction.mean.shape == (60,)
        assert np.isfinite(prediction.mean).all()
        assert (np.diff(prediction.mean[predictor.rank(graphs)]) <= 0).all()
        if prediction.std is not None:
            assert prediction.std.shape == (60,)
            assert (prediction.std > 0).all()

    def test_a_network_is_predicted_the_same_in_any_company(self) -> None:
        """The prediction does not depend on what else is asked."""
        graphs, values = self.networks(60)
        predictor = self.predictor(seed=0).fit(graphs[:40], values[:40])
        together = predictor.predict(graphs).mean
        alone = np.concatenate([predictor.predict([graph]).mean for graph in graphs[:5]])
        np.testing.assert_allclose(alone, together[:5], rtol=1e-4, atol=1e-4)

    def test_seed_decides(self) -> None:
        """The same seed predicts the same to the last bit."""
        graphs, values = self.networks(40)
        first, again = (self.predictor(seed=3).fit(graphs, values) for _ in range(2))
        np.testing.assert_array_equal(first.predict(graphs).mean, again.predict(graphs).mean)

    def test_put_together_again_it_predicts_the_same(self) -> None:
        """Its settings, which are JSON, and its arrays are all there is to it."""
        graphs, values = self.networks(60)
        predictor = _savable(self.predictor(seed=2)).fit(graphs[:40], values[:40])
        assert predictor.schema is not None
        again = type(predictor).restored(
            json.loads(json.dumps(predictor.settings())), predictor.schema, predictor.state()
        )
        assert again.settings() == predictor.settings()
        assert again.schema == predictor.schema
        before, after = predictor.predict(graphs), again.predict(graphs)
        np.testing.assert_array_equal(after.mean, before.mean)
        np.testing.assert_array_equal(np.array(after.std), np.array(before.std))

    def test_a_state_of_another_space_is_refused(self) -> None:
        """By one of the errors that the loader of files turns into the user's."""
        graphs, values = self.networks(20)
        predictor = _savable(self.predictor(seed=0)).fit(graphs, values)
        with pytest.raises((KeyError, TypeError, ValueError, RuntimeError)):
            type(predictor).restored(
                predictor.settings(), GraphSchema("other", ("a",), ()), predictor.state()
            )

    def test_travels_to_workers(self) -> None:
        """Fitted, it can be pickled, and predicts the same there."""
        graphs, values = self.networks(40)
        predictor = self.predictor(seed=1).fit(graphs, values)
        there = pickle.loads(pickle.dumps(predictor))  # noqa: S301 - made just now
        np.testing.assert_array_equal(there.predict(graphs).mean, predictor.predict(graphs).mean)

    def test_before_fitting_there_is_no_state(self) -> None:
        """An unfitted predictor cannot be saved."""
        with pytest.raises(UserError, match="not fitted"):
            _savable(self.predictor(seed=0)).state()

    @pytest.mark.parametrize("bad", ["few", "constant", "missing", "lengths", "none"])
    def test_values_it_cannot_learn_from_are_the_users_error(self, bad: str) -> None:
        """Too few networks, equal or missing values, or another number of values."""
        graphs, values = self.networks(20)
        if bad == "few":
            graphs, values = graphs[:1], values[:1]
        elif bad == "constant":
            values = np.full(20, 3.0)
        elif bad == "missing":
            values[7] = np.nan
        elif bad == "lengths":
            values = values[:-1]
        else:
            graphs, values = [], np.array([])
        with pytest.raises(UserError):
            self.predictor(seed=0).fit(graphs, values)

    def test_predicting_before_fitting_is_the_users_error(self) -> None:
        """An unfitted predictor says so."""
        with pytest.raises(UserError, match="not fitted"):
            self.predictor(seed=0).predict(self.networks(2)[0])

    def test_networks_of_another_space_are_the_users_error(self) -> None:
        """Both spaces are named."""
        graphs, values = self.networks(20)
        predictor = self.predictor(seed=0).fit(graphs, values)
        foreign = [replace(graph, schema=GraphSchema("other", ("a",), ())) for graph in graphs]
        with pytest.raises(UserError, match=rf"{graphs[0].schema.space}.*other"):
            predictor.predict(foreign)


def _savable(predictor: Predictor) -> SavablePredictor:
    if not isinstance(predictor, SavablePredictor):
        pytest.skip("it cannot be saved")
    return predictor


def networks(n: int, seed: int = 0) -> tuple[list[Graph], NDArray[np.float64]]:
    """Return the graphs of random cells and their synthetic accuracy in percent, shape (n,)."""
    space = NASBench201()
    cells: list[Cell] = space.sample(n, np.random.default_rng(seed))
    evaluations = SyntheticEvaluator().evaluate(cells)
    values = np.array([evaluation.metrics["accuracy_pct"] for evaluation in evaluations])
    return [space.graph(cell) for cell in cells], values
