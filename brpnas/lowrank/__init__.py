"""Low-rank pairs in the place of a trained network's layers: schemes, weights, surgery, recipes.

    layers = find_layers(model, example)
    moments = gather_moments(model, layers, batches)
    factors = Factors(model, layers, "output", moments)
    choice = Choice.parse("separable:r12")
    smaller, report = replace(model, {"layer1.0.conv1": choice}, factors)

What a choice costs is known without building it: ``choice.macs(layers.shapes[name])``.
"""

from __future__ import annotations

from brpnas.lowrank.cache import Cache, content_hash, model_hash
from brpnas.lowrank.decompose import METHODS, Decomposition, Method, decompose
from brpnas.lowrank.factors import Factors
from brpnas.lowrank.layers import Layers, find_layers
from brpnas.lowrank.modules import LayerWeights, LowRankRows, LowRankSum, PairWeights, build
from brpnas.lowrank.moments import Moment, cached_moments, gather_moments
from brpnas.lowrank.recipe import Recipe, apply_recipe, read_recipe, save_recipe, weights_hash
from brpnas.lowrank.schemes import DENSE, KINDS, Choice, Pair, Scheme, greatest_rank, schemes_for
from brpnas.lowrank.shapes import LayerShape, Positions
from brpnas.lowrank.surgery import Replaced, Report, WeightSource, replace

__all__ = [
    "DENSE",
    "KINDS",
    "METHODS",
    "Cache",
    "Choice",
    "Decomposition",
    "Factors",
    "LayerShape",
    "LayerWeights",
    "Layers",
    "LowRankRows",
    "LowRankSum",
    "Method",
    "Moment",
    "Pair",
    "PairWeights",
    "Positions",
    "Recipe",
    "Replaced",
    "Report",
    "Scheme",
    "WeightSource",
    "apply_recipe",
    "build",
    "cached_moments",
    "content_hash",
    "decompose",
    "find_layers",
    "gather_moments",
    "greatest_rank",
    "model_hash",
    "read_recipe",
    "replace",
    "save_recipe",
    "schemes_for",
    "weights_hash",
]
