"""A made-up problem on NAS-Bench-201 cells, and a predictor that learns it in a millisecond."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.predictors.predictor import Prediction, Predictor
from brpnas.search.problem import Constraint, Problem
from brpnas.spaces import Cell, Graph, NASBench201

__all__ = ["LinearPredictor", "SyntheticEvaluator", "synthetic_problem"]

_SPACE = NASBench201()
# By operation, in the order of the space's vocabulary, and by place in the cell.
_QUALITY = np.array([0.0, 4.0, 7.0, 10.0, 3.0])
_LATENCY_MS = np.array([0.0, 0.1, 1.0, 2.5, 0.6])
_WEIGHTS = np.array([1.0, 0.4, 0.7, 0.3, 0.5, 0.9])


def synthetic_problem(
    size: int = 200, limit_ms: float | None = None, seed: int = 0
) -> Problem[Cell]:
    """Make a problem whose pool is a random part of the canonical cells.

    Args:
        size: networks in the pool.
        limit_ms: limit on ``latency_ms``, if there is to be one.
        seed: of the pool.
    """
    drawn = _SPACE.sample(len(_SPACE), np.random.default_rng(seed))
    pool = [cell for cell in drawn[: 4 * size] if _SPACE.canonical(cell) == cell]
    pool = (pool if len(pool) >= size else [c for c in drawn if _SPACE.canonical(c) == c])[:size]
    constraints = [] if limit_ms is None else [Constraint("latency_ms", limit_ms)]
    return Problem(_SPACE, pool, "accuracy_pct", constraints)


class SyntheticEvaluator(Evaluator[Cell]):
    """Accuracy (percent) and latency (ms): additive over operations, plus noise from a hash.

    Args:
        failing: share of the networks whose evaluation fails.
        seconds: pause before each evaluation, to pretend work.
    """

    metrics = ("accuracy_pct", "latency_ms", "params")

    def __init__(self, failing: float = 0.0, seconds: float = 0.0) -> None:
        self._failing = failing
        self._seconds = seconds
        self.evaluated = 0

    def evaluate(self, archs: Sequence[Cell]) -> Iterator[Evaluation]:
        """Yield the metrics of each network."""
        for arch in archs:
            time.sleep(self._seconds)
            self.evaluated += 1
            options = np.array(_SPACE.encode(arch))
            noise = [_uniform(arch, purpose) for purpose in ("accuracy", "latency", "failure")]
            if noise[2] < self._failing:
                yield Evaluation(error="made to fail")
                continue
            accuracy = 50 + _QUALITY[options] @ _WEIGHTS + 2 * noise[0]
            latency = (0.5 + _LATENCY_MS[options].sum()) * (0.95 + 0.1 * noise[1])
            params = float(np.count_nonzero(options))
            yield Evaluation(dict(zip(self.metrics, (accuracy, latency, params), strict=True)))


class LinearPredictor(Predictor):
    """Ridge regression on the one-hot operation of each node; its graphs have equal size.

    Args:
        ridge: penalty on the squared weights.
    """

    def __init__(self, ridge: float = 0.1) -> None:
        self.ridge = ridge

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Solve for the weights; raise UserError for fewer than two or equal values."""
        if len(values) < 2 or np.ptp(values) == 0:
            raise UserError("a fit needs at least two networks whose values differ")
        features = _one_hot(graphs)  # (networks, features)
        self._mean = values.mean()
        inner = features.T @ features + self.ridge * np.eye(features.shape[1])
        self._weights = np.linalg.solve(inner, features.T @ (values - self._mean))
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict in the unit of the values."""
        return Prediction(_one_hot(graphs) @ self._weights + self._mean)


def _one_hot(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    operations = np.stack([graph.operations for graph in graphs])  # (networks, nodes)
    vocabulary = np.arange(len(graphs[0].schema.operations))
    one_hot = operations[..., None] == vocabulary  # (networks, nodes, operations)
    return np.asarray(one_hot.reshape(len(graphs), -1), dtype=np.float64)


def _uniform(arch: Cell, purpose: str) -> float:
    """Return a number in [0, 1) that is the network's own in every process."""
    digest = hashlib.blake2b(f"{purpose} {arch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
