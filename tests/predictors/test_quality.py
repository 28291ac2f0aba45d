from __future__ import annotations

import numpy as np
import pytest

from brpnas.errors import UserError
from brpnas.predictors import quality


def test_shares_counted_by_hand() -> None:
    truth = np.array([100.0, 100.0, 100.0, 200.0])
    prediction = np.array([100.9, 104.0, 91.0, 150.0])
    judged = quality(truth, prediction)
    assert (judged.within_1pct, judged.within_5pct, judged.within_10pct) == (0.25, 0.5, 0.75)
    assert judged.n_test == 4


def test_ranks_counted_by_hand() -> None:
    judged = quality(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0]))
    assert judged.spearman == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert judged.kendall == pytest.approx(4 / 6)  # 5 pairs agree, 1 does not


def test_a_true_zero_counts_as_right_only_if_predicted() -> None:
    assert quality(np.array([0.0, 1.0]), np.array([0.0, 1.0])).within_1pct == 1
    assert quality(np.array([0.0, 1.0]), np.array([0.1, 1.0])).within_10pct == 0.5


def test_negative_metrics_are_judged_by_their_size() -> None:
    assert quality(np.array([-10.0, -20.0]), np.array([-10.4, -20.0])).within_5pct == 1


def test_no_correlation_of_constant_predictions() -> None:
    judged = quality(np.array([1.0, 2.0]), np.array([3.0, 3.0]))
    assert np.isnan(judged.spearman)
    assert np.isnan(judged.kendall)


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [([1.0], [1.0]), ([1.0, np.nan], [1.0, 2.0]), ([1.0, 2.0], [1.0, np.inf])],
)
def test_what_cannot_be_judged(truth: list[float], prediction: list[float]) -> None:
    with pytest.raises(UserError):
        quality(np.array(truth), np.array(prediction))
