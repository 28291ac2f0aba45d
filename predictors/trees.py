"""Decision trees on what a graph holds: what a data scientist does in five minutes.

Gradient boosting on histograms (Ke et al., "LightGBM", NeurIPS 2017) and extremely randomised
trees (Geurts et al., Machine Learning 63, 2006), both of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

from brpnas.predictors._baseline import Baseline, Columns, pack, unpack
from brpnas.predictors._scale import Scale, check_values
from brpnas.predictors.predictor import Prediction
from brpnas.spaces import Graph, GraphSchema

__all__ = ["TreesPredictor", "TreesSize"]

_FEWEST_BOOSTED = 50
"""With fewer networks boosting can hardly split them, and left-out ones tell little."""
_FOLDS = 3
_SHARES = np.linspace(0, 1, 5)


_MOST_TREES = 10_000
"""Of one kind, in a file: a damaged number would let the fit go on for ever."""


@dataclass(frozen=True)
class TreesSize:
    """How many trees there are.

    Attributes:
        boosted: one after the other, each on what the ones before left over.
        randomised: whose mean is taken.
    """

    boosted: int = 400
    randomised: int = 300


class TreesPredictor(Baseline):
    """Predicts a metric by boosted and by randomised trees, weighted by which is better on it.

    They see what the networks hold as written, as surviving and as wired, and learn the logarithm
    where the metric is positive. Boosting is better on clean measurements, averages of random
    trees on noisy ones: their shares have the smallest mean absolute error in cross-validation
    over the networks to learn from; fewer than 50 get randomised trees only. No standard
    deviation.

    Args:
        seed: of the trees and the folds.
        valid: not used: all networks are learnt from.
        size: how many trees.
    """

    def __init__(self, seed: int = 0, valid: float = 0.0, size: TreesSize | None = None) -> None:
        super().__init__(seed, valid)
        self.size = size or TreesSize()
        self._graphs: list[Graph] = []
        self._values = np.empty(0)
        self._share = np.nan

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        return self._learn(graphs, values, share=None)

    def _learn(
        self, graphs: Sequence[Graph], values: NDArray[np.float64], share: float | None
    ) -> Self:
        columns = Columns.of(graphs)
        table = columns(graphs)
        scale = Scale.of(values)
        targets = scale.shrink(values)
        if share is None:
            share = _best_share(table, targets, self.size, self.seed)
        self._trees = _Trees(table, targets, share, self.size, self.seed)
        self._columns, self._scale, self._share = columns, scale, share
        self._graphs, self._values = list(graphs), np.array(values, np.float64)
        self.schema = graphs[0].schema
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on.

        Raises:
            UserError: not fitted, or networks of another space or of other edges.
        """
        self._check_space(graphs)
        return Prediction(self._scale.grow(self._trees.predict(self._columns(graphs))))

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {**super().settings(), "size": asdict(self.size)}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was learnt from.

        Trees themselves could only be pickled. The seed makes the same ones again, at the price
        of some seconds; another version of scikit-learn may make slightly different ones.
        """
        self._check_fitted()
        learnt = {"values": self._values, "share": np.array([self._share])}
        return {**pack(self._graphs), **learnt}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Fit the same trees again to what `state` gave."""
        graphs = unpack(schema, state)
        size = TreesSize(**settings["size"])
        if not 0 < min(size.boosted, size.randomised) <= max(vars(size).values()) <= _MOST_TREES:
            raise ValueError(f"{size}: accepted are up to {_MOST_TREES} trees of each kind")
        predictor = cls(settings["seed"], settings["valid"], size)
        return predictor._learn(graphs, state["values"], float(state["share"][0]))


class _Trees:
    """Both kinds, fitted to columns (n, columns) and standardised targets (n,)."""

    def __init__(
        self,
        table: NDArray[np.float32],
        targets: NDArray[np.float64],
        share: float,
        size: TreesSize,
        seed: int,
    ) -> None:
        self._share = share
        small = seed % 2**32  # scikit-learn takes no larger ones
        boosted = HistGradientBoostingRegressor(
            learning_rate=0.06,
            max_iter=size.boosted,
            min_samples_leaf=8,
            random_state=small,
            early_stopping=False,  # else it holds rows out, where there are many
        )
        randomised = ExtraTreesRegressor(size.randomised, max_features=0.5, random_state=small)
        shares = ((boosted, share), (randomised, 1 - share))
        self._models = [(model.fit(table, targets), part) for model, part in shares if part > 0]

    def predict(self, table: NDArray[np.float32]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = sum(
            (part * model.predict(table) for model, part in self._models),
            start=np.zeros(len(table)),
        )
        return total


def _best_share(
    table: NDArray[np.float32], targets: NDArray[np.float64], size: TreesSize, seed: int
) -> float:
    """Return the share of boosting with the smallest error on folds that were left out."""
    if len(targets) < _FEWEST_BOOSTED:
        return 0.0
    fold = np.random.default_rng(seed).permutation(len(targets)) % _FOLDS
    errors = np.zeros(len(_SHARES))
    for left_out in range(_FOLDS):
        train, test = fold != left_out, fold == left_out
        boosted, randomised = (
            _Trees(table[train], targets[train], share, size, seed).predict(table[test])
            for share in (1.0, 0.0)
        )
        mixed = _SHARES[:, None] * boosted + (1 - _SHARES[:, None]) * randomised
        errors += np.abs(mixed - targets[test]).sum(1)  # (shares,)
    return float(_SHARES[errors.argmin()])
