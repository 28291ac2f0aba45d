"""What each option of each layer adds to a latency, learnt from a few measured networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import BayesianRidge, LinearRegression

from brpnas.lowrank import KINDS, Choice, LayerShape
from brpnas.spaces import LowRankNetwork, LowRankSpace

__all__ = ["Prices"]

_COUNTS = 1 + 2 * len(KINDS)
"""Of the features: those that are multiply-accumulates."""


class Prices:
    """A linear model of latency: multiply-accumulates first, then what kind they are of.

    Latency is taken for a line in the multiply-accumulates of the whole network. What that leaves
    is explained, as far as the networks bear it out (Bayesian ridge regression; MacKay, 1992), by
    the multiply-accumulates of dense layers and of the first and second layers of pairs, by
    kind, and by how many pairs of each kind there are, how much passes between their layers, and
    how large their outputs are. All of these are sums over layers: so the price of an option is
    known for each layer, and options that no network had are not priced by chance.

    Args:
        space: of the networks.
        measured: networks and their latencies, two or more; the network as it is among them.
    """

    def __init__(self, space: LowRankSpace, measured: Mapping[LowRankNetwork, float]) -> None:
        self._space = space
        seen = np.array([self._features(arch) for arch in measured])
        latencies = np.array(list(measured.values()))
        macs = seen[:, :_COUNTS].sum(1, keepdims=True)
        line = LinearRegression().fit(macs, latencies)
        self._per_mac = max(float(line.coef_[0]), 0.0)
        self._scale = np.where(seen.std(0) > 0, seen.std(0), np.inf)  # alike in all: no price
        rest = BayesianRidge().fit(seen / self._scale, latencies - self._per_mac * macs[:, 0])
        self._weights = rest.coef_

    def of(self, name: str, choice: Choice) -> float:
        """Return the price of a choice for a layer, but for a constant."""
        features = _features(self._space.layers[name], choice)
        counted = self._per_mac * features[:_COUNTS].sum()
        return float(counted + (features / self._scale) @ self._weights)

    def _features(self, arch: LowRankNetwork) -> NDArray[np.float64]:
        layers = self._space.layers.items()
        rows = [_features(shape, arch.choices.get(name, Choice())) for name, shape in layers]
        total: NDArray[np.float64] = np.sum(rows, axis=0)
        return total


def _features(shape: LayerShape, choice: Choice) -> NDArray[np.float64]:
    """Return what a layer adds to the features, shape (features,)."""
    found = np.zeros(_COUNTS + len(KINDS) + 2)
    if not choice.pairs:
        found[0] = shape.macs
    for pair in choice.pairs:
        whole = int(pair.scheme.macs(shape, pair.rank))
        first = pair.scheme.first_macs(shape, pair.rank)
        kind = KINDS.index(pair.scheme.kind)
        found[1 + 2 * kind : 3 + 2 * kind] += first, whole - first
        found[_COUNTS + kind] += 1
        outputs = shape.positions.outputs
        found[-2:] += pair.rank * pair.scheme.groups * outputs, shape.outputs * outputs
    return found
