"""The simplest baseline: a network takes as long as it has multiply-accumulates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from brpnas.errors import UserError
from brpnas.predictors._baseline import Baseline
from brpnas.predictors._scale import Scale, check_values
from brpnas.predictors._schema import common_schema
from brpnas.predictors.predictor import Prediction
from brpnas.spaces import Graph, GraphSchema

__all__ = ["FlopsPredictor"]


class FlopsPredictor(Baseline):
    """Predicts a metric from the network's multiply-accumulates alone.

    The metric is a monotone step function of the MACs (isotonic regression, on the logarithm
    where the metric is positive), rising or falling as its rank correlation says. MACs of all
    operations as written or of those that survive pruning: whichever fit better. Predictions lie
    within the values that were learnt from; there is no standard deviation.

    Args:
        seed: nothing is random.
        valid: not used: all networks are learnt from.
    """

    def __init__(self, seed: int = 0, valid: float = 0.0) -> None:
        super().__init__(seed, valid)
        self._pruned = False
        self._steps = np.empty((2, 0))

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric, or graphs that do
                not say how many multiply-accumulates their operations have.
        """
        check_values(graphs, values)
        scale = Scale.of(values)
        targets = scale.shrink(values)
        fits = []
        for pruned in (False, True):
            x, y, error = _monotone(_macs(graphs, pruned), targets)
            fits.append((error, pruned, np.stack([x, scale.grow(y)])))
        _, self._pruned, self._steps = min(fits, key=lambda fit: fit[0])  # written if equal
        self.schema = graphs[0].schema
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on."""
        self._check_space(graphs)
        return Prediction(np.interp(_macs(graphs, self._pruned), *self._steps))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the corners of the function: MACs and metric."""
        self._check_fitted()
        return {"pruned": np.array([self._pruned]), "steps": self._steps}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        if _column(schema) is None:
            raise ValueError(f"graphs of space '{schema.space}' know no multiply-accumulates")
        predictor = cls(settings["seed"], settings["valid"])
        predictor.schema = schema
        predictor._pruned = bool(state["pruned"][0])
        predictor._steps = state["steps"]
        return predictor


def _monotone(
    macs: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the corners of the monotone function that fits best, and its mean squared error."""
    rising = np.ptp(macs) == 0 or spearmanr(macs, targets).statistic >= 0
    model = IsotonicRegression(increasing=bool(rising), out_of_bounds="clip").fit(macs, targets)
    error = float(np.mean((model.predict(macs) - targets) ** 2))
    return model.X_thresholds_, model.y_thresholds_, error


def _macs(graphs: Sequence[Graph], pruned: bool) -> NDArray[np.float64]:
    """Return each network's MACs in the unit of its graph's column, shape (graphs,)."""
    schema = common_schema(graphs)
    column = _column(schema)
    if column is None:
        said = ", ".join(schema.numbers) or "nothing"
        raise UserError(
            f"predictor 'flops' needs the multiply-accumulates of operations, which graphs of "
            f"space '{schema.space}' do not say (they say: {said})"
        )
    sums = [graph.numbers[graph.live if pruned else slice(None), column].sum() for graph in graphs]
    return np.array(sums, np.float64)


def _column(schema: GraphSchema) -> int | None:
    names = enumerate(schema.numbers)
    return next((place for place, name in names if name.partition("_")[0] == "macs"), None)
