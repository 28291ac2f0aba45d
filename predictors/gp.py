"""The Gaussian process: compares networks by what they hold, and knows how sure it is.

Each node hears the operations before and after it, over the edges that survive; a network is then
compared with those that were measured, as written, as surviving and as wired. This is the limit
of a graph network whose only layer grows without bounds (Neal, 1996; Hu et al., "Infinitely wide
graph convolutional networks", 2020): nothing but how much each column counts is left to learn,
which few measurements suffice for, and the answer comes with its standard deviation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata
from torch import Tensor

from brpnas.errors import UserError
from brpnas.predictors._baseline import Baseline, divided
from brpnas.predictors._features import VIEWS, GraphFeatures
from brpnas.predictors._process import Kernel, Process
from brpnas.predictors._rows import shuffled
from brpnas.predictors._scale import Scale, check_values, width_of
from brpnas.predictors.predictor import Prediction
from brpnas.reproducible import reproducible
from brpnas.spaces import Graph, GraphSchema

__all__ = ["GPRanker", "GPRegressor"]

_log = logging.getLogger(__name__)

_LEARNT_FROM = 1000
_MOST = 5000
_SMALLEST_APART = 0.25


class _GP(Baseline):
    """What regression and ranking share: a process over graphs, with a standardised metric."""

    _features: GraphFeatures | None = None
    _process: Process | None = None

    def _learn(
        self, graphs: Sequence[Graph], targets: NDArray[np.float64], most: int = _LEARNT_FROM
    ) -> tuple[Process, NDArray[np.int64]]:
        """Fit to networks in random order, with lengths learnt from the first; return the order."""
        order = shuffled(len(graphs), self.seed)
        if len(order) > _MOST:
            _log.warning("of %d networks %d are used: more take too long", len(order), _MOST)
            order = order[:_MOST]
        used = [graphs[row] for row in order]
        self._features = GraphFeatures.of(used)
        self.schema = self._features.schema
        views = _tensors(self._features(used))
        flags = [self._features.flags[name] for name in VIEWS]
        columns = [(some, view.shape[1] - some) for some, view in zip(flags, views, strict=True)]
        wanted = torch.from_numpy(targets[order].astype(np.float32))
        with reproducible():
            self._process = Process.learnt(Kernel.start(columns), views, wanted, most)
        return self._process, order

    def _predict(self, graphs: Sequence[Graph]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the standardised metric, shape (n,) each."""
        if self._features is None or self._process is None:
            raise UserError("this predictor was not fitted")
        views = _tensors(self._features(graphs))
        with reproducible():
            mean, std = self._process.predict(views)
        return mean.double().numpy(), std.double().numpy()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the measured networks as they are compared, and what was learnt."""
        if self._features is None or self._process is None:
            raise UserError("this predictor was not fitted")
        return {
            **{f"features.{name}": value for name, value in self._features.state().items()},
            **{f"process.{name}": value.numpy() for name, value in self._process.state().items()},
        }

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = cls(settings["seed"], settings["valid"])
        parts = divided(state)
        predictor.schema = schema
        predictor._features = GraphFeatures.restored(schema, parts["features"])
        tensors = {name: torch.from_numpy(value) for name, value in parts["process"].items()}
        with reproducible():
            predictor._process = Process.restored(tensors)
        return predictor


class GPRegressor(_GP):
    """Predicts a metric in its own unit, by regression on its logarithm.

    Errors are then relative, as latencies are judged. A metric that is not positive everywhere is
    learnt without logarithm. The standard deviation is widened or narrowed until it is right for
    networks that nothing was learnt from (as in conformal prediction: Lei et al.,
    "Distribution-free predictive inference for regression", 2018): three quarters of the networks
    tell how much each column counts, and 90% of the others have to lie where all networks but
    themselves say that 90% do.

    Args:
        seed: picks the networks that tell how much each column counts, 1,000 at most, and those
            that are used at all, 5,000 at most.
        valid: share of the networks that do not tell how much each column counts, where that is
            more than a quarter; all are learnt from.

    Attributes:
        left_out: what is said of each network that it was fitted to by all others, (n,); None
            where it was not fitted here.
    """

    left_out: Prediction | None = None

    def __init__(self, seed: int = 0, valid: float = 0.0) -> None:
        super().__init__(seed, valid)
        self._scale = Scale()
        self._width = 1.0

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        self._scale = Scale.of(values)
        targets = self._scale.shrink(values)
        held_out = max(self.valid, _SMALLEST_APART)
        apart = max(int(min(len(graphs), _LEARNT_FROM) * (1 - held_out)), 1)
        process, used = self._learn(graphs, targets, apart)
        with reproducible():
            error, deviation = (value.double().numpy() for value in process.left_out())
        off = np.abs(error) / deviation
        self._width = width_of(off[apart:])
        mean, std = np.empty((2, len(graphs)))
        mean[used], std[used] = targets[used] - error, deviation
        if len(unused := np.setdiff1d(np.arange(len(graphs)), used)):
            mean[unused], std[unused] = self._predict([graphs[row] for row in unused])
        self.left_out = self._in_unit(mean, std)
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on."""
        return self._in_unit(*self._predict(graphs))

    def _in_unit(
        self, standardised: NDArray[np.float64], deviation: NDArray[np.float64]
    ) -> Prediction:
        return self._scale.prediction(standardised, deviation * self._width)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return networks, what was learnt, and the scale of the metric."""
        width = np.array([self._width])
        return {**super().state(), "scale": self._scale.state(), "width": width}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = super().restored(settings, schema, state)
        predictor._scale = Scale.restored(state["scale"])
        predictor._width = float(state["width"][0])
        return predictor


class GPRanker(_GP):
    """Learns which of two networks has the larger metric; its scores have no unit.

    A network's target is the share of the binary relations with the others that it wins, as the
    quantile of a normal distribution (Thurstone, "A law of comparative judgment", 1927): the
    difference of two scores tells how likely one network beats the other, swapping them gives the
    complement, which the published head does not ensure, and one sort ranks all networks.

    Args:
        seed: picks the networks that tell how much each column counts, 1,000 at most, and those
            that are used at all, 5,000 at most.
        valid: not used: all networks are learnt from.
    """

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        won = (rankdata(values) - 0.5) / len(values)  # half of the relation with an equal
        self._learn(graphs, ndtri(won))
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Score networks: the larger, the larger the metric is expected to be."""
        return Prediction(*self._predict(graphs))


def _tensors(views: Mapping[str, NDArray[np.float32]]) -> list[Tensor]:
    return [torch.from_numpy(views[name]) for name in VIEWS]
