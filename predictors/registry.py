"""The predictors by the name that the user types."""

from __future__ import annotations

from dataclasses import dataclass

from brpnas.predictors.gcn import GCNRanker, GCNRegressor
from brpnas.predictors.predictor import SavablePredictor

__all__ = ["PREDICTORS", "Family"]


@dataclass(frozen=True)
class Family:
    """One way to look at graphs, trained in two ways; both take (seed, share held out).

    Attributes:
        regressor: predicts a metric in its unit.
        ranker: predicts which network is better.
    """

    regressor: type[SavablePredictor]
    ranker: type[SavablePredictor]


PREDICTORS: dict[str, Family] = {"gcn": Family(GCNRegressor, GCNRanker)}
