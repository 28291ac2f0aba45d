from __future__ import annotations

import numpy as np
import pytest

from brpnas.judging import LEVELS, Trial, coverage, judge
from brpnas.predictors import Prediction


def trial(truth: list[float], mean: list[float], std: list[float] | None = None) -> Trial:
    predicted = Prediction(np.array(mean), None if std is None else np.array(std))
    return Trial(np.array(truth), predicted, 1.5, 0.5)


def test_coverage_is_what_was_promised() -> None:
    rng = np.random.default_rng(0)
    std = rng.uniform(0.5, 2, 20_000)
    truth = rng.normal(10, std)
    observed = coverage(truth, Prediction(np.full(len(std), 10.0), std))
    assert observed == pytest.approx(LEVELS, abs=0.01)
    narrow = coverage(truth, Prediction(np.full(len(std), 10.0), std / 2), [0.9])
    assert narrow == pytest.approx([0.589], abs=0.01)  # within 0.82 deviations


def test_90_percent_is_within_1645_deviations() -> None:
    predicted = Prediction(np.zeros(4), np.ones(4))
    assert coverage(np.array([0, 1.644, 1.646, -1.644]), predicted, [0.9]) == (0.75,)


def test_without_deviations_there_is_no_coverage() -> None:
    assert judge(trial([1, 2], [1, 2])).coverage is None


def test_errors_are_shares_of_the_truth() -> None:
    score = judge(trial([1, 2, 4, 8, 10], [1.1, 2, 4, 8, 15]), points=True)
    assert (score.errors[0], score.errors[100]) == (0, 0.5)
    assert score.errors[75] == pytest.approx(0.1)
    assert score.points[-1] == (10, 15)
    assert (score.fit_s, score.predict_s) == (1.5, 0.5)


def test_a_true_zero_is_missed_infinitely_unless_predicted() -> None:
    assert judge(trial([0, 1], [0, 1])).errors[100] == 0
    assert judge(trial([0, 1], [0.1, 1])).errors[100] == np.inf
