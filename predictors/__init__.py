"""What learns a metric from graphs, and how well: predictors, their files, their quality.

A ``Predictor`` is fitted to a few measured networks and predicts or ranks the rest. The families
are listed in ``PREDICTORS`` by the name that the user types.
"""

if __name__ != "brpnas.predictors":
    raise ImportError(
        "import this package as 'brpnas.predictors' (the bare name belongs to others)"
    )

from importlib import import_module
from typing import TYPE_CHECKING

from brpnas.predictors._scale import check_values
from brpnas.predictors._schema import check_space
from brpnas.predictors.eagle import EagleRanker, EagleRegressor, EagleSize
from brpnas.predictors.ensemble import EnsembleRanker, EnsembleRegressor
from brpnas.predictors.gcn import GCNRanker, GCNRegressor, GCNSize
from brpnas.predictors.gp import GPRanker, GPRegressor
from brpnas.predictors.mlp import MLPPredictor
from brpnas.predictors.predictor import Prediction, Predictor, SavablePredictor
from brpnas.predictors.quality import Quality, quality
from brpnas.predictors.registry import PREDICTORS, Family
from brpnas.predictors.saved import Provenance, SavedPredictor, load_predictor, save_predictor

if TYPE_CHECKING:
    from brpnas.predictors.flops import FlopsPredictor
    from brpnas.predictors.layerwise import LayerwisePredictor
    from brpnas.predictors.transfer import Sources, Transfer, TransferPrior
    from brpnas.predictors.trees import TreesPredictor, TreesSize

__all__ = [
    "PREDICTORS",
    "EagleRanker",
    "EagleRegressor",
    "EagleSize",
    "EnsembleRanker",
    "EnsembleRegressor",
    "Family",
    "FlopsPredictor",
    "GCNRanker",
    "GCNRegressor",
    "GCNSize",
    "GPRanker",
    "GPRegressor",
    "LayerwisePredictor",
    "MLPPredictor",
    "Prediction",
    "Predictor",
    "Provenance",
    "Quality",
    "SavablePredictor",
    "SavedPredictor",
    "Sources",
    "Transfer",
    "TransferPrior",
    "TreesPredictor",
    "TreesSize",
    "check_space",
    "check_values",
    "load_predictor",
    "quality",
    "save_predictor",
]

# What is made with scikit-learn is loaded when it is asked for: it takes long to import.
_MODULES = {
    "FlopsPredictor": "flops",
    "LayerwisePredictor": "layerwise",
    "Sources": "transfer",
    "Transfer": "transfer",
    "TransferPrior": "transfer",
    "TreesPredictor": "trees",
    "TreesSize": "trees",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
