"""A perceptron on what a graph holds: what the graph networks' message passing has to beat."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brpnas.predictors._baseline import Baseline, Columns, divided
from brpnas.predictors._rows import drawn
from brpnas.predictors._scale import Scale, check_values
from brpnas.predictors._training import Training, one_cycle
from brpnas.predictors.predictor import Prediction
from brpnas.reproducible import reproducible
from brpnas.spaces import Graph, GraphSchema

__all__ = ["MLPPredictor"]

_WIDTH = 256
_TRAINING = Training(epochs=150, batch=64, learning_rate=3e-3, weight_decay=1e-2)


class MLPPredictor(Baseline):
    """Predicts a metric by a perceptron with two hidden layers.

    It sees the same columns as the trees and minimises what the GCN does: the mean absolute error
    of the standardised logarithm (of the metric itself where that is not positive), by AdamW in
    one cycle; of its epochs it keeps the best on the networks held out. No standard deviation. It
    runs on the CPU: so small a network gains nothing from a GPU.

    Args:
        seed: of initial weights, held-out networks and order.
        valid: share of the networks that is held out to choose the best epoch by; 0 to learn from
            all and keep the last.
    """

    def __init__(self, seed: int = 0, valid: float = 0.1) -> None:
        super().__init__(seed, valid)

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        columns = Columns.of(graphs)
        scale = Scale.of(values)
        table = torch.from_numpy(columns(graphs))
        targets = torch.from_numpy(scale.shrink(values).astype(np.float32))
        with reproducible(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._network = _perceptron(table.shape[1])
            _train(self._network, table, targets, self.valid)
        self._columns, self._scale = columns, scale
        self.schema = graphs[0].schema
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on.

        Raises:
            UserError: not fitted, or networks of another space or of other edges.
        """
        self._check_space(graphs)
        with reproducible(), torch.inference_mode():
            scores = self._network(torch.from_numpy(self._columns(graphs)))[:, 0]
        return Prediction(self._scale.grow(scores.double().numpy()))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return weights, columns and scale."""
        self._check_fitted()
        weights = self._network.state_dict()
        columns = self._columns.state()
        return {
            **{f"network.{name}": value.numpy() for name, value in weights.items()},
            **{f"columns.{name}": value for name, value in columns.items()},
            "scale": self._scale.state(),
        }

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = cls(settings["seed"], settings["valid"])
        parts = divided(state)
        predictor._columns = Columns.restored(schema, parts["columns"])
        predictor._network = _perceptron(len(predictor._columns.kept)).eval()
        predictor._network.load_state_dict(
            {name: torch.from_numpy(value) for name, value in parts["network"].items()}
        )
        predictor._scale = Scale.restored(state["scale"])
        predictor.schema = schema
        return predictor


def _perceptron(columns: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(columns, _WIDTH),
        nn.ReLU(),
        nn.Linear(_WIDTH, _WIDTH),
        nn.ReLU(),
        nn.Linear(_WIDTH, 1),
    )


def _train(network: nn.Sequential, table: Tensor, targets: Tensor, valid: float) -> None:
    """Train on rows (n, columns) with targets (n,); keep the best epoch if rows are held out."""

    def loss(rows: Tensor) -> Tensor:
        scores: Tensor = network(table[rows])
        return (scores[:, 0] - targets[rows]).abs().mean()

    held_out, kept = drawn(len(targets), valid)

    def draw(steps: int) -> Iterable[Tensor]:
        return kept[torch.randperm(len(kept))].tensor_split(steps)

    lowest, best = torch.inf, network.state_dict()  # not a copy: the last epoch, if none is judged
    for epoch in one_cycle(network, _TRAINING, len(kept), draw, loss):
        # The first half of the cycle is too noisy to hold the best epoch.
        if len(held_out) and epoch >= _TRAINING.epochs // 2:
            with torch.no_grad():
                now = float(loss(held_out))
            if now < lowest:
                lowest, best = now, copy.deepcopy(network.state_dict())
    network.load_state_dict(best)
    network.eval()
