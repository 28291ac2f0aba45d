"""The GCN predictors of BRP-NAS: regression of a metric, and the binary relation of two networks.

Dudziak et al., "BRP-NAS: Prediction-based NAS using GCNs", NeurIPS 2020, sections 3 and 4. Both
differ from the published ones: the graph is seen as written and as surviving, edges are followed
both ways through residual layers, several networks are trained side by side and averaged, the
regression may be a sum over nodes, and the relation is antisymmetric, so that a ranking is a sort
of scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from brpnas.errors import UserError
from brpnas.predictors._network import GraphNetwork, NetworkSize
from brpnas.predictors._scale import Scale, check_values, share_of, unexplained
from brpnas.predictors._schema import check_space, common_schema
from brpnas.predictors._training import Loss, Training, compute_device, score, train_network
from brpnas.predictors.predictor import Prediction, SavablePredictor, check_layers
from brpnas.reproducible import reproducible
from brpnas.spaces import Graph, GraphSchema

__all__ = ["GCNRanker", "GCNRegressor", "GCNSize"]


@dataclass(frozen=True)
class GCNSize:
    """Size of the graph network.

    Attributes:
        hidden: width of node and graph embeddings.
        layers: rounds of message passing.
        members: networks in the ensemble.
    """

    hidden: int = 64
    layers: int = 3
    members: int = 3


class _GCN(SavablePredictor):
    """What both trainings share: the network and how it is taken apart."""

    def __init__(self, seed: int, valid: float, size: GCNSize, training: Training) -> None:
        super().__init__(seed, valid)
        self.size = size
        self.training = training
        self._network: GraphNetwork | None = None

    def _train(
        self,
        graphs: Sequence[Graph],
        targets: NDArray[np.float64],
        loss: Loss,
        deviation: float | None = None,
    ) -> NDArray[np.int64]:
        """Fit the network; return the rows that were held out."""
        schema = common_schema(graphs)
        size = self._network_size(schema, deviation)
        wanted = torch.from_numpy(targets.astype(np.float32))
        with reproducible():
            self._network, held_out = train_network(
                graphs, wanted, size, self.training, loss, self.seed, self.valid
            )
        self.schema = schema
        return held_out

    def _network_size(self, schema: GraphSchema, deviation: float | None) -> NetworkSize:
        vocabulary = len(schema.operations), len(schema.numbers)
        return NetworkSize(*vocabulary, **asdict(self.size), deviation=deviation)

    def _scores(self, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """Return the network's scores, shape (members, networks) or twice as many rows."""
        if self._network is None or self.schema is None:
            raise UserError("this predictor was not fitted")
        check_space(self.schema, graphs)
        with reproducible():
            return score(self._network, graphs)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {
            "seed": self.seed,
            "valid": self.valid,
            "size": asdict(self.size),
            "training": asdict(self.training),
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the network's weights."""
        if self._network is None:
            raise UserError("this predictor was not fitted")
        return {name: value.cpu().numpy() for name, value in self._network.state_dict().items()}

    @classmethod
    def _deviation(cls, state: Mapping[str, NDArray[Any]]) -> float | None:  # noqa: ARG003
        """Return the deviation that the network of a state knows of."""
        return None

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = cls(
            settings["seed"],
            settings["valid"],
            GCNSize(**settings["size"]),
            Training(**settings["training"]),
        )
        predictor.schema = schema
        check_layers(predictor.size.layers, state)
        network = GraphNetwork(predictor._network_size(schema, cls._deviation(state)))
        network.load_state_dict(
            {name: torch.from_numpy(state[name]) for name in network.state_dict()}
        )
        predictor._network = network.eval().to(compute_device())
        return predictor


class GCNRegressor(_GCN):
    """Predicts a metric in its own unit, by regression on its logarithm.

    The loss is the mean absolute error of the standardised logarithm, so errors are relative, as
    latencies are judged. A metric that is not positive everywhere is learnt without logarithm.
    Otherwise the network gives two scores, one of them a sum over nodes, as the latency is where
    layers run one after another. Networks that were held out tell how much each of them counts (see
    ``share_of``): on a GPU, or of an accuracy, the sum counts little or nothing.
    The standard deviation joins the members' disagreement with the errors on networks held out
    (see ``unexplained``).

    Args:
        seed: of initial weights, held-out networks and order.
        valid: share of the networks that is held out to know the errors on unseen ones by.
        size: of the graph network.
        training: the recipe.

    Attributes:
        held_out: which of the networks that it was given were held out; empty where it was not
            fitted here.
        share: of the sum over nodes; zero where the network has none.
        residual: standard deviation of the errors that the members' disagreement does not
            explain, of the standardised metric; NaN where none was held out to know it by.
    """

    def __init__(
        self,
        seed: int = 0,
        valid: float = 0.1,
        size: GCNSize | None = None,
        training: Training | None = None,
    ) -> None:
        super().__init__(seed, valid, size or GCNSize(), training or Training())
        self._scale = Scale()
        self.share = 0.0
        self.residual = np.nan
        self.held_out = np.empty(0, np.int64)

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        self._scale = Scale.of(values)
        targets = self._scale.shrink(values)
        deviation = self._scale.std if self._scale.logarithm else None
        self.held_out = self._train(graphs, targets, _absolute_error, deviation)
        self.share, self.residual = 0.0 if deviation is None else 0.5, np.nan
        if len(self.held_out):
            held_out = [graphs[row] for row in self.held_out.tolist()]
            self._weigh(held_out, targets[self.held_out])
        return self

    def _weigh(self, graphs: Sequence[Graph], targets: NDArray[np.float64]) -> None:
        """Choose share and residual by networks that were held out, targets standardised, (n,)."""
        scores = self._scores(graphs)
        if self._scale.logarithm:
            one, other = np.split(scores, 2)
            self.share = share_of(other.mean(0), one.mean(0), targets, self.seed)
        mixed = self._mixed(scores)
        self.residual = unexplained(mixed.mean(0) - targets, mixed.var(0))

    def _mixed(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Join the network's two scores, (2 * members, n), to one of each member."""
        if not self._scale.logarithm:
            return scores
        one, other = np.split(scores, 2)
        mixed: NDArray[np.float64] = one + self.share * (other - one)
        return mixed

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on."""
        scores = self._mixed(self._scores(graphs))
        if np.isnan(self.residual):
            return Prediction(self._scale.grow(scores.mean(0)))
        return self._scale.prediction(scores.mean(0), np.sqrt(scores.var(0) + self.residual**2))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the network's weights, the scale of the metric, share and held-out error."""
        return {
            **super().state(),
            "scale": self._scale.state(),
            "share": np.array([self.share]),
            "residual": np.array([self.residual]),
        }

    @classmethod
    def _deviation(cls, state: Mapping[str, NDArray[Any]]) -> float | None:
        scale = Scale.restored(state["scale"])
        return scale.std if scale.logarithm else None

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = super().restored(settings, schema, state)
        predictor._scale = Scale.restored(state["scale"])
        predictor.share = float(state["share"][0])
        predictor.residual = float(state["residual"][0])
        return predictor


class GCNRanker(_GCN):
    """Learns which of two networks has the larger metric; its scores have no unit.

    The probability that network i beats network j is sigmoid(s_i - s_j): swapping the two gives
    the complement, which the published head does not ensure, and one score per network ranks
    them all. Every step embeds each network once and compares all pairs by broadcasting. Targets
    are soft, as published: nearly equal networks ask for a probability near one half.

    Args:
        seed: of initial weights, held-out networks and order.
        valid: share of the networks that is not learnt from.
        size: of the graph network.
        training: the recipe.
    """

    def __init__(
        self,
        seed: int = 0,
        valid: float = 0.0,
        size: GCNSize | None = None,
        training: Training | None = None,
    ) -> None:
        super().__init__(seed, valid, size or GCNSize(), training or RANKING)

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        self._train(graphs, (values - values.mean()) / values.std(), _binary_relation)
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Score networks: the larger, the larger the metric is expected to be."""
        return Prediction(self._scores(graphs).mean(0))


_SHARPNESS = 4.0
"""How fast the wanted probability leaves one half, per standard deviation of the metric."""

RANKING = Training(epochs=120, batch=256, learning_rate=3e-3)
"""The recipe of the ranker: few networks, all of them and all their pairs in every step."""


def _absolute_error(scores: Tensor, targets: Tensor) -> Tensor:
    return (scores - targets).abs().mean(1)


def _binary_relation(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of all pairs, per member: scores (members, n), targets (n,)."""
    logits = scores[:, :, None] - scores[:, None, :]
    wanted = torch.sigmoid((targets[:, None] - targets[None, :]) * _SHARPNESS)
    return F.binary_cross_entropy_with_logits(
        logits, wanted.expand_as(logits), reduction="none"
    ).mean((1, 2))
