"""What learns a metric from graphs, and how well: predictors, their files, their quality.

A ``Predictor`` is fitted to a few measured networks and predicts or ranks the rest. The built-in
families are listed in ``PREDICTORS`` by the name that the user types.
"""

if __name__ != "brpnas.predictors":
    raise ImportError(
        "import this package as 'brpnas.predictors' (the bare name belongs to others)"
    )

from brpnas.predictors.gcn import GCNRanker, GCNRegressor, GCNSize
from brpnas.predictors.predictor import Prediction, Predictor, SavablePredictor
from brpnas.predictors.quality import Quality, quality
from brpnas.predictors.registry import PREDICTORS, Family
from brpnas.predictors.saved import Provenance, SavedPredictor, load_predictor, save_predictor

__all__ = [
    "PREDICTORS",
    "Family",
    "GCNRanker",
    "GCNRegressor",
    "GCNSize",
    "Prediction",
    "Predictor",
    "Provenance",
    "Quality",
    "SavablePredictor",
    "SavedPredictor",
    "load_predictor",
    "quality",
    "save_predictor",
]
