"""How good predictions are, in the measures of the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from brpnas.errors import UserError

__all__ = ["Quality", "quality"]


@dataclass(frozen=True)
class Quality:
    """Agreement of predictions with the truth; larger is better throughout.

    Attributes:
        within_1pct: share of networks predicted within 1% of the truth, from 0 to 1.
        within_5pct: the same within 5%.
        within_10pct: the same within 10%.
        spearman: Spearman's rank correlation.
        kendall: Kendall's tau-b.
        n_test: networks that were judged.
    """

    within_1pct: float
    within_5pct: float
    within_10pct: float
    spearman: float
    kendall: float
    n_test: int


def quality(truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> Quality:
    """Judge predictions, both of shape (n,) and in one unit.

    Rank correlations are NaN where all values of one side are equal.

    Raises:
        UserError: fewer than two networks, or a value is missing.
    """
    if len(truth) < 2:
        raise UserError(f"at least 2 networks are needed to judge a predictor, not {len(truth)}")
    if not (np.isfinite(truth).all() and np.isfinite(prediction).all()):
        raise UserError("a true or predicted value is missing: such rows cannot be judged")
    # Not a division by the truth: a true zero would count as infinitely wrong, even if predicted.
    error, size = np.abs(prediction - truth), np.abs(truth)
    one, five, ten = (float(np.mean(error <= share * size)) for share in (0.01, 0.05, 0.10))
    spearman = kendall = np.nan
    if np.ptp(truth) > 0 and np.ptp(prediction) > 0:
        spearman = float(spearmanr(truth, prediction).statistic)
        kendall = float(kendalltau(truth, prediction).statistic)
    return Quality(one, five, ten, spearman, kendall, len(truth))
