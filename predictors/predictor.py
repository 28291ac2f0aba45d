"""What learns a metric from graphs: the noun Predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.spaces import Graph, GraphSchema

__all__ = ["Prediction", "Predictor", "SavablePredictor", "check_layers"]


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of n networks.

    Attributes:
        mean: expected metric, shape (n,), in the unit of the values it was fitted to. A predictor
            that only ranks gives a score without a unit instead; larger still means larger.
        std: standard deviation of the error it expects, shape (n,), or None where unknown.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64] | None = None

    def of(self, rows: NDArray[np.int64]) -> Prediction:
        """Return what is said of some of the networks."""
        return Prediction(self.mean[rows], None if self.std is None else self.std[rows])


class Predictor(ABC):
    """Learns a metric from graphs, in scikit-learn's manner: the constructor only stores."""

    @abstractmethod
    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: too few networks, a constant or a non-finite metric.
        """

    @abstractmethod
    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on."""

    def rank(self, graphs: Sequence[Graph]) -> NDArray[np.int64]:
        """Return the order of the networks by predicted metric, largest first."""
        return np.argsort(-self.predict(graphs).mean, kind="stable")


class SavablePredictor(Predictor):
    """A predictor that can be taken apart into JSON values and arrays, and put together again.

    Attributes:
        schema: of the graphs that it was fitted on; None before.

    Args:
        seed: of everything random.
        valid: share of the networks that is held out: each kind says for what.

    Raises:
        UserError: a share out of range.
    """

    def __init__(self, seed: int = 0, valid: float = 0.0) -> None:
        if not 0 <= valid < 1:
            raise UserError(f"the share held out must be from 0 to below 1, not {valid:g}")
        self.seed = seed
        self.valid = valid
        self.schema: GraphSchema | None = None

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Return what was fitted; raise UserError if nothing was."""

    @classmethod
    @abstractmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave.

        Raises:
            KeyError, TypeError, ValueError or RuntimeError: they do not belong together.
        """


def check_layers(layers: int, state: Mapping[str, NDArray[Any]]) -> None:
    """Refuse more layers than saved arrays: a damaged number would take hours to build.

    Raises:
        ValueError: there are more.
    """
    if layers > len(state):
        raise ValueError(f"{layers} layers of {len(state)} arrays")
