"""The predictors by the name that the user types."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from brpnas.predictors.predictor import SavablePredictor

__all__ = ["PREDICTORS", "Family", "class_in"]


@dataclass(frozen=True)
class Family:
    """One way to look at graphs, trained in two ways; both take (seed, share held out).

    A class is loaded when it is asked for: who fits a graph network need not wait for the
    libraries that trees are made of.

    Attributes:
        module: that holds the classes.
        regressor_name: of the class that predicts a metric in its unit.
        ranker_name: of the class that predicts which network is better.
    """

    module: str
    regressor_name: str
    ranker_name: str

    @property
    def regressor(self) -> type[SavablePredictor]:
        """The class that predicts a metric in its unit."""
        return class_in(self.module, self.regressor_name)

    @property
    def ranker(self) -> type[SavablePredictor]:
        """The class that predicts which network is better."""
        return class_in(self.module, self.ranker_name)


def class_in(module: str, name: str) -> type[SavablePredictor]:
    """Load a module and return a predictor's class of it."""
    kind: type[SavablePredictor] = getattr(import_module(module), name)
    return kind


PREDICTORS: dict[str, Family] = {
    "ensemble": Family("brpnas.predictors.ensemble", "EnsembleRegressor", "EnsembleRanker"),
    "gcn": Family("brpnas.predictors.gcn", "GCNRegressor", "GCNRanker"),
    "gp": Family("brpnas.predictors.gp", "GPRegressor", "GPRanker"),
    "trees": Family("brpnas.predictors.trees", "TreesPredictor", "TreesPredictor"),
    "mlp": Family("brpnas.predictors.mlp", "MLPPredictor", "MLPPredictor"),
    "layerwise": Family("brpnas.predictors.layerwise", "LayerwisePredictor", "LayerwisePredictor"),
    "flops": Family("brpnas.predictors.flops", "FlopsPredictor", "FlopsPredictor"),
    "eagle": Family("brpnas.predictors.eagle", "EagleRegressor", "EagleRanker"),
}
