"""The predictors by the name that the user types."""

from __future__ import annotations

from dataclasses import dataclass

from brpnas.predictors.eagle import EagleRanker, EagleRegressor
from brpnas.predictors.ensemble import EnsembleRanker, EnsembleRegressor
from brpnas.predictors.flops import FlopsPredictor
from brpnas.predictors.gcn import GCNRanker, GCNRegressor
from brpnas.predictors.gp import GPRanker, GPRegressor
from brpnas.predictors.layerwise import LayerwisePredictor
from brpnas.predictors.mlp import MLPPredictor
from brpnas.predictors.predictor import SavablePredictor
from brpnas.predictors.trees import TreesPredictor

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


PREDICTORS: dict[str, Family] = {
    "ensemble": Family(EnsembleRegressor, EnsembleRanker),
    "gcn": Family(GCNRegressor, GCNRanker),
    "gp": Family(GPRegressor, GPRanker),
    "trees": Family(TreesPredictor, TreesPredictor),
    "mlp": Family(MLPPredictor, MLPPredictor),
    "layerwise": Family(LayerwisePredictor, LayerwisePredictor),
    "flops": Family(FlopsPredictor, FlopsPredictor),
    "eagle": Family(EagleRegressor, EagleRanker),
}
