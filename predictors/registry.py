"""The predictors by the name that the user types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from brpnas.predictors.gcn import GCNRanker, GCNRegressor
from brpnas.predictors.predictor import Predictor, SavablePredictor

__all__ = ["PREDICTORS", "Family"]


@dataclass(frozen=True)
class Family:
    """One way to look at graphs, trained in two ways.

    Attributes:
        regressor: makes a predictor of a metric in its unit, from (seed, share held out).
        ranker: makes a predictor of which network is better, from (seed,).
    """

    regressor: Callable[[int, float], SavablePredictor]
    ranker: Callable[[int], Predictor]


PREDICTORS: dict[str, Family] = {"gcn": Family(GCNRegressor, GCNRanker)}
