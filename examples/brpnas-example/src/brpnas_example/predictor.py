"""A predictor: ridge regression on how often a network has each operation, and on its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from brpnas.errors import UserError
from brpnas.predictors import Prediction, SavablePredictor, check_space, check_values
from brpnas.spaces import Graph, GraphSchema
from numpy.typing import NDArray

_PENALTY = 0.1


class Ridge(SavablePredictor):
    """Predicts a metric as a weighted sum of counts; of any space."""

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,)."""
        check_values(graphs, values)
        x = _counts(graphs)
        self.schema = graphs[0].schema
        self._mean, self._scale, self._offset = x.mean(0), x.std(0) + 1e-9, values.mean()
        x = (x - self._mean) / self._scale
        inner = x.T @ x + _PENALTY * np.eye(x.shape[1])
        self._weights = np.linalg.solve(inner, x.T @ (values - self._offset))
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on."""
        check_space(self._fitted(), graphs)
        x = (_counts(graphs) - self._mean) / self._scale
        return Prediction(x @ self._weights + self._offset)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"seed": self.seed, "valid": self.valid}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was fitted."""
        self._fitted()
        offset = np.array([self._offset])
        return {"columns": np.stack([self._mean, self._scale, self._weights]), "offset": offset}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together again."""
        predictor = cls(settings["seed"], settings["valid"])
        predictor.schema = schema
        if state["columns"].shape != (3, len(schema.operations) + len(schema.numbers)):
            raise ValueError(f"its weights are not those of space '{schema.space}'")
        predictor._mean, predictor._scale, predictor._weights = state["columns"]
        predictor._offset = state["offset"][0]
        return predictor

    def _fitted(self) -> GraphSchema:
        if self.schema is None:
            raise UserError("this predictor was not fitted")
        return self.schema


def _counts(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return counts of operations and sums of numbers, shape (graphs, columns)."""
    kinds = len(graphs[0].schema.operations)
    return np.array(
        [
            [*np.bincount(graph.operations, minlength=kinds), *graph.numbers.sum(0)]
            for graph in graphs
        ],
        dtype=np.float64,
    )
