"""A limit on a metric that has to be predicted, with a margin for the predictor's error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from brpnas.costs import not_empty
from brpnas.errors import UserError
from brpnas.predictors.predictor import Prediction, Predictor
from brpnas.search.problem import Constraint
from brpnas.spaces import Graph

__all__ = ["CostModel"]

_log = logging.getLogger(__name__)

# The margin follows the latest errors only: the predictor improves from round to round.
_LATEST = 30


class CostModel:
    """Predicts one constrained metric of a pool of networks, from those that were paid for.

    Predictions are raised by a margin before they are compared with the limit: by so many of the
    predictor's standard deviations as the quantile says. For a predictor without, it is a quantile
    of the relative errors ``cost / prediction - 1`` of predictions that were made before the
    networks were measured; at first, of networks held out from a first fit.

    Args:
        constraint: the limit.
        make: makes a fresh predictor from a seed.
        size: networks in the pool; a network is given by its place in it.
        quantile: of the errors, from 0.5 to below 1; larger keeps further away from the limit.

    Raises:
        UserError: a quantile out of range.
    """

    def __init__(
        self, constraint: Constraint, make: Callable[[int], Predictor], size: int, quantile: float
    ) -> None:
        if not 0.5 <= quantile < 1:
            raise UserError(f"the limit's quantile must be from 0.5 to below 1, not {quantile:g}")
        self._constraint = constraint
        self._make = make
        self._quantile = quantile
        self._costs: dict[int, float] = {}
        self._predicted = np.full(size, np.nan)  # the last one before the network was measured

    def tell(self, place: int, cost: float) -> None:
        """Learn a network's cost; NaN where missing."""
        if np.isfinite(cost):
            self._costs[place] = cost

    def excess(
        self, graphs: Sequence[Graph], places: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Predict how far networks lie above the limit, margin included, as a share of it.

        Args:
            graphs: of the whole pool.
            places: the networks to predict, none of which was measured.
            rng: draws the predictor's seed and the networks to hold out.

        Returns:
            Excess of each network, shape (len(places),); 0 where it is expected to fit, and
            everywhere if what is known does not suffice for a fit.
        """
        known = np.array(list(self._costs), dtype=np.int64)
        costs = np.array(list(self._costs.values()))
        used = not_empty(costs)
        known, costs = known[used], costs[used]
        seed = int(rng.integers(2**31))
        try:
            said = self._fit_predict(graphs, known, costs, places, seed)
            if said.std is not None:
                margin = float(ndtri(self._quantile)) * said.std
            else:
                margin = self._usual_error(graphs, known, costs, rng) * said.mean
        except UserError as error:
            _log.warning("%s is not predicted in this round: %s", self._constraint.metric, error)
            return np.zeros(len(places))
        self._predicted[places] = said.mean
        return self._constraint.excess(said.mean + margin)

    def _fit_predict(
        self,
        graphs: Sequence[Graph],
        known: NDArray[np.int64],
        costs: NDArray[np.float64],
        places: NDArray[np.int64],
        seed: int,
    ) -> Prediction:
        predictor = self._make(seed).fit([graphs[place] for place in known], costs)
        return predictor.predict([graphs[place] for place in places])

    def _usual_error(
        self,
        graphs: Sequence[Graph],
        known: NDArray[np.int64],
        costs: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> float:
        """Return the quantile of the latest relative errors; 0 where they are negative."""
        errors = _errors(costs, self._predicted[known])[-_LATEST:]
        if not len(errors):
            errors = self._held_out_errors(graphs, known, costs, rng)
        return max(0.0, float(np.quantile(errors, self._quantile))) if len(errors) else 0.0

    def _held_out_errors(
        self,
        graphs: Sequence[Graph],
        known: NDArray[np.int64],
        costs: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Return the relative errors on a third of the networks after a fit to the others."""
        test, train = np.split(rng.permutation(len(known)), [len(known) // 3])
        seed = int(rng.integers(2**31))
        predicted = self._fit_predict(graphs, known[train], costs[train], known[test], seed)
        return _errors(costs[test], predicted.mean)


def _errors(costs: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return relative errors where there is a positive prediction."""
    honest = predicted > 0  # false for NaN: not predicted before it was measured
    return costs[honest] / predicted[honest] - 1
