"""The graph network and its limit of infinite width, weighed by which is better on the metric.

A network that is trained finds features of its own, which tells where much can be learnt; the
Gaussian process is better where measurements are few or have outliers. Neither wins on every
device, and their errors differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from brpnas.predictors._baseline import divided
from brpnas.predictors._scale import Scale, check_values, share_of, width_of
from brpnas.predictors._training import Training
from brpnas.predictors.gcn import GCNRanker, GCNRegressor, GCNSize
from brpnas.predictors.gp import GPRanker, GPRegressor
from brpnas.predictors.predictor import Prediction, SavablePredictor
from brpnas.spaces import Graph, GraphSchema

__all__ = ["EnsembleRanker", "EnsembleRegressor"]

_FEWEST_CALIBRATED = 20
"""With fewer networks held out, the members' own deviations are the better ones."""
_APART = 0.2
"""Share that a first graph network does not learn from, if the one that is kept learns from all."""


class _Ensemble(SavablePredictor):
    """A graph network and a Gaussian process side by side.

    Args:
        seed: of both.
        valid: share of the networks that the graph network does not learn from.
        size: of the graph network; None: that of its kind.
        training: its recipe; None: that of its kind.
    """

    _kinds: tuple[type[GCNRegressor | GCNRanker], type[GPRegressor | GPRanker]]

    def __init__(
        self,
        seed: int = 0,
        valid: float = 0.1,
        size: GCNSize | None = None,
        training: Training | None = None,
    ) -> None:
        super().__init__(seed, valid)
        gcn, gp = self._kinds
        self._members = (gcn(seed, valid, size, training), gp(seed, valid))

    def _predict(self, graphs: Sequence[Graph]) -> list[Prediction]:
        """Return what each member predicts."""
        return [member.predict(graphs) for member in self._members]

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return self._members[0].settings()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what both have learnt."""
        return {
            f"{place}.{name}": value
            for place, member in enumerate(self._members)
            for name, value in member.state().items()
        }

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = cls(settings["seed"], settings["valid"])
        parts = divided(state)
        predictor._members = (
            cls._kinds[0].restored(settings, schema, parts["0"]),
            cls._kinds[1].restored(settings, schema, parts["1"]),
        )
        predictor.schema = schema
        return predictor


class EnsembleRegressor(_Ensemble):
    """Predicts a metric in its own unit: the weighted mean of the members, in their logarithm.

    The weights are what the networks held out say (see ``share_of``). The standard deviation joins
    those of the members with their disagreement, and is widened or narrowed until its 90%
    interval holds 90% of the networks held out (see ``width_of``).

    Args:
        seed: of both members.
        valid: share of the networks that is held out to choose weights and width by. If none is,
            a first graph network that learns from four fifths tells them; the one that is kept
            learns from all, and the fit takes nearly twice as long.
        size: of the graph network; None: that of its kind.
        training: its recipe; None: that of its kind.
    """

    _kinds = (GCNRegressor, GPRegressor)
    _members: tuple[GCNRegressor, GPRegressor]

    def __init__(
        self,
        seed: int = 0,
        valid: float = 0.1,
        size: GCNSize | None = None,
        training: Training | None = None,
    ) -> None:
        super().__init__(seed, valid, size, training)
        self._scale = Scale()
        self._share = 0.5  # of the graph network
        self._width = 1.0

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        self._scale = Scale.of(values)
        self._share, self._width = 0.5, 1.0
        gcn, gp = self._members
        gp.fit(graphs, values)
        first = gcn if self.valid else GCNRegressor(self.seed, _APART, gcn.size, gcn.training)
        first.fit(graphs, values)
        rows = first.held_out
        if len(rows) and gp.left_out:
            held_out = [graphs[row] for row in rows.tolist()]
            self._weigh(first.predict(held_out), gp.left_out.of(rows), values[rows])
        if first is not gcn:
            gcn.fit(graphs, values)
            gcn.share, gcn.residual = first.share, first.residual
        self.schema = gcn.schema
        return self

    def _weigh(self, gcn: Prediction, gp: Prediction, values: NDArray[np.float64]) -> None:
        """Choose share and width by what both say of networks that were held out, (n,)."""
        truth = self._scale.shrink(values)
        one, other = self._scale.shrink(gcn.mean), self._scale.shrink(gp.mean)
        self._share = share_of(one, other, truth, self.seed)
        if len(values) >= _FEWEST_CALIBRATED:
            mean, deviation = self._mixed(gcn, gp)
            self._width = width_of(np.abs(mean - truth) / deviation)

    def _mixed(
        self, gcn: Prediction, gp: Prediction
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the mixture, standardised, (n,) each."""
        one, off_one = self._scale.standardised(gcn)
        other, off_other = self._scale.standardised(gp)
        assert off_other is not None  # noqa: S101 - a Gaussian process always has one
        if off_one is None:  # too few networks to hold one out
            off_one = off_other
        share, rest = self._share, 1 - self._share
        variance = share * off_one**2 + rest * off_other**2 + share * rest * (one - other) ** 2
        return share * one + rest * other, np.sqrt(variance)

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on."""
        mean, deviation = self._mixed(*self._predict(graphs))
        return self._scale.prediction(mean, self._width * deviation)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what both have learnt, the scale of the metric, and how both are joined."""
        joined = np.array([self._share, self._width])
        return {**super().state(), "scale": self._scale.state(), "joined": joined}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = super().restored(settings, schema, state)
        predictor._scale = Scale.restored(state["scale"])
        predictor._share, predictor._width = state["joined"].tolist()
        return predictor


class EnsembleRanker(_Ensemble):
    """Learns which of two networks has the larger metric; its scores have no unit.

    A score is the mean of the members', each in standard deviations of its scores on the networks
    that it was fitted to.

    Args:
        seed: of both members.
        valid: share of the networks that the graph network does not learn from.
        size: of the graph network; None: that of its kind.
        training: its recipe; None: that of its kind.
    """

    _kinds = (GCNRanker, GPRanker)

    def __init__(
        self,
        seed: int = 0,
        valid: float = 0.0,
        size: GCNSize | None = None,
        training: Training | None = None,
    ) -> None:
        super().__init__(seed, valid, size, training)
        self._scales: tuple[Scale, ...] = ()

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        for member in self._members:
            member.fit(graphs, values)
        self.schema = self._members[0].schema
        spread = [one.mean for one in self._predict(graphs)]
        self._scales = tuple(
            Scale(mean=float(one.mean()), std=float(one.std()) or 1.0) for one in spread
        )
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Score networks: the larger, the larger the metric is expected to be."""
        said = self._predict(graphs)
        scores = [scale.shrink(one.mean) for scale, one in zip(self._scales, said, strict=True)]
        return Prediction(np.mean(scores, axis=0))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what both have learnt, and the scales of their scores."""
        scales = {f"scale.{place}": scale.state() for place, scale in enumerate(self._scales)}
        return {**super().state(), **scales}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = super().restored(settings, schema, state)
        predictor._scales = tuple(
            Scale.restored(state[f"scale.{place}"]) for place in range(len(cls._kinds))
        )
        return predictor
