"""The look-up table: a network takes as long as its operations, one after the other.

The layer-wise latency predictor that BRP-NAS is compared with (Dudziak et al., NeurIPS 2020,
section 3.1), but with the entries found from whole networks instead of measured one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from brpnas.predictors._baseline import Baseline
from brpnas.predictors._scale import check_values
from brpnas.predictors._schema import check_edges, common_schema, same_edges
from brpnas.predictors.predictor import Prediction
from brpnas.spaces import Graph, GraphSchema

__all__ = ["LayerwisePredictor"]

_PENALTIES = np.logspace(-8, 2, 21)


class LayerwisePredictor(Baseline):
    """Predicts a metric as a constant and a cost for every operation that survives pruning.

    Where all training networks have the same edges, an operation has a cost of its own at every
    node; otherwise it costs the same wherever it stands. Costs are found by least squares in the
    metric's own unit, as costs add up there and not in the logarithm; a penalty on their squares,
    chosen by leave-one-out errors, helps where there are few networks. They may be negative: an
    operation may save what another one costs. No standard deviation.

    Args:
        seed: nothing is random.
        valid: not used: all networks are learnt from.
    """

    def __init__(self, seed: int = 0, valid: float = 0.0) -> None:
        super().__init__(seed, valid)
        self._edges: NDArray[np.int64] | None = None
        self._constant = np.nan
        self._costs = np.empty((0, 0))

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        schema = common_schema(graphs)
        first = graphs[0]
        alike = same_edges(graphs, len(first.operations), first.edges)
        places = len(first.operations) if alike else 1
        # Standardised, so that the penalties do not depend on the metric's unit.
        mean, std = values.mean(), values.std()
        table = _table(graphs, places, len(schema.operations))
        model = RidgeCV(alphas=_PENALTIES).fit(table, (values - mean) / std)
        self._costs = np.asarray(model.coef_ * std).reshape(places, -1)
        self._constant = float(model.intercept_ * std + mean)
        self._edges = first.edges if alike else None
        self.schema = schema
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on.

        Raises:
            UserError: not fitted, or networks of another space or of other edges.
        """
        self._check_space(graphs)
        places = len(self._costs)
        if self._edges is not None:
            check_edges(graphs, places, self._edges)
        table = _table(graphs, places, self._costs.shape[1])
        return Prediction(table @ self._costs.ravel() + self._constant)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the table, shape (nodes or 1, operations), the constant and the edges."""
        self._check_fitted()
        edges = {} if self._edges is None else {"edges": self._edges}
        return {"costs": self._costs, "constant": np.array([self._constant]), **edges}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = cls(settings["seed"], settings["valid"])
        predictor.schema = schema
        predictor._costs = state["costs"]
        if predictor._costs.shape[1:] != (len(schema.operations),):
            raise ValueError(f"its table is not of the operations of space '{schema.space}'")
        predictor._constant = float(state["constant"][0])
        predictor._edges = state.get("edges")
        return predictor


def _table(graphs: Sequence[Graph], places: int, operations: int) -> NDArray[np.float64]:
    """Count live operations at each node, or anywhere: shape (graphs, places * operations)."""
    sizes = [len(graph.operations) for graph in graphs]
    row = np.repeat(np.arange(len(graphs)), sizes)
    place = np.concatenate([np.arange(size) % places for size in sizes])  # all 0 if places is 1
    kind = np.concatenate([graph.operations for graph in graphs])
    live = np.concatenate([graph.live for graph in graphs])
    cell = ((row * places + place) * operations + kind)[live]
    counts = np.bincount(cell, minlength=len(graphs) * places * operations)
    return counts.reshape(len(graphs), -1).astype(np.float64)
