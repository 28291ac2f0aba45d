from __future__ import annotations

import numpy as np
import pytest

from brpnas.predictors import (
    EnsembleRanker,
    EnsembleRegressor,
    GCNRegressor,
    GCNSize,
    Prediction,
    Predictor,
)
from brpnas.predictors._scale import Scale
from brpnas.predictors._training import Training
from brpnas.testing import PredictorContract
from brpnas.testing.predictors import networks

_SMALL, _SHORT = GCNSize(32, 2, 2), Training(epochs=40)


class TestRegressor(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return EnsembleRegressor(seed, 0.1, _SMALL, _SHORT)


class TestRanker(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return EnsembleRanker(seed, 0.0, _SMALL, _SHORT)


@pytest.fixture(scope="module")
def members() -> tuple[Prediction, Prediction, Prediction, np.ndarray]:
    graphs, values = networks(500)
    ensemble = EnsembleRegressor(0, 0.3, GCNSize(), Training(epochs=60))
    ensemble.fit(graphs[:200], values[:200])
    return *ensemble._predict(graphs[200:]), ensemble.predict(graphs[200:]), values[200:]


def test_it_is_at_least_nearly_as_good_as_its_better_member(
    members: tuple[Prediction, Prediction, Prediction, np.ndarray],
) -> None:
    *said, values = members
    gcn, gp, joined = (float(np.abs(one.mean / values - 1).mean()) for one in said)
    assert joined < 1.02 * min(gcn, gp)


def test_it_lies_between_its_members(
    members: tuple[Prediction, Prediction, Prediction, np.ndarray],
) -> None:
    gcn, gp, joined, _ = members
    low, high = np.minimum(gcn.mean, gp.mean), np.maximum(gcn.mean, gp.mean)
    assert ((joined.mean >= low * (1 - 1e-6)) & (joined.mean <= high * (1 + 1e-6))).all()


def test_its_interval_holds_what_it_says(
    members: tuple[Prediction, Prediction, Prediction, np.ndarray],
) -> None:
    _, _, joined, values = members
    assert joined.std is not None
    covered = np.abs(joined.mean - values) < 1.645 * joined.std
    assert 0.82 < covered.mean() < 0.97


def test_a_member_that_knows_nothing_does_not_count() -> None:
    ensemble, truth = EnsembleRegressor(), np.exp(np.linspace(0, 1, 100))
    noise = np.random.default_rng(0).normal(size=(2, 100))
    good = Prediction(truth * np.exp(0.01 * noise[0]), 0.01 * truth)
    bad = Prediction(truth * np.exp(0.5 * noise[1]), 0.5 * truth)
    ensemble._scale = Scale.of(truth)
    ensemble._weigh(bad, good, truth)
    assert ensemble._share < 0.03
    ensemble._weigh(good, bad, truth)
    assert ensemble._share > 0.97


def test_if_none_is_held_out_a_first_fit_tells_how_far_off_it_is() -> None:
    graphs, values = networks(500)
    ensemble = EnsembleRegressor(0, 0.0, _SMALL, _SHORT).fit(graphs[:150], values[:150])
    assert ensemble._share != 0.5
    found = ensemble.predict(graphs[150:])
    assert found.std is not None
    covered = np.abs(found.mean - values[150:]) < 1.645 * found.std
    assert 0.82 < covered.mean() < 0.97
    # The graph network that is kept has learnt from all.
    alone = GCNRegressor(0, 0.0, _SMALL, _SHORT).fit(graphs[:150], values[:150])
    alone.share = ensemble._members[0].share
    np.testing.assert_array_equal(
        ensemble._predict(graphs[150:])[0].mean, alone.predict(graphs[150:]).mean
    )


def test_five_networks_suffice() -> None:
    graphs, values = networks(30)
    found = EnsembleRegressor(0, 0.1, _SMALL, _SHORT).fit(graphs[:5], values[:5]).predict(graphs)
    assert found.std is not None
    assert (found.std > 0).all()
