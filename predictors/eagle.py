"""The graph network of BRP-NAS as it was published, to compare with.

Dudziak et al., "BRP-NAS: Prediction-based NAS using GCNs", NeurIPS 2020, sections 3 and 4. See
`brpnas.predictors.gcn` for what became of it. It is slow by nature: the regressor takes one
network at a time, the ranker all pairs of networks, through four layers of 600 units. With 900
networks, or 100 for the ranker, that is a matter of many minutes up to hours on a CPU.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from brpnas.predictors._baseline import Baseline
from brpnas.predictors._rows import drawn
from brpnas.predictors._scale import check_values
from brpnas.predictors._schema import common_schema
from brpnas.predictors._training import compute_device
from brpnas.predictors.predictor import Prediction, check_layers
from brpnas.reproducible import reproducible
from brpnas.spaces import Graph, GraphSchema

__all__ = ["EagleRanker", "EagleRegressor", "EagleSize"]

_WEIGHT_DECAY = 5e-4
_WARM_UP = 20  # epochs before the rate falls or the training stops
_SLOWER_AFTER = 10
_STOP_AFTER = 35
_PORTION = 1024
_ENDS = ("input", "output")
_NOTHING = "skip_connect"


@dataclass(frozen=True)
class EagleSize:
    """Size of the network and of its training.

    Attributes:
        hidden: units of each layer.
        layers: of the GCN.
        epochs: at most.
    """

    hidden: int = 600
    layers: int = 4
    epochs: int = 250


@dataclass(frozen=True)
class _Recipe:
    """In what the two trainings differ: items per step, rate, share of units dropped."""

    batch: int
    learning_rate: float
    dropout: float
    cosine: bool


class _Eagle(Baseline):
    """What both trainings share.

    Computed in float32; the published code computes in float64, and takes the weights of the last
    epoch where it means those of the best.
    """

    recipe: _Recipe
    outputs: int

    def __init__(self, seed: int, valid: float, size: EagleSize | None) -> None:
        super().__init__(seed, valid)
        self.size = size or EagleSize()
        self._places = 0

    @abstractmethod
    def _losses(
        self, cells: _Cells, values: NDArray[np.float64]
    ) -> tuple[int, Callable[[Tensor], Tensor], Callable[[], float] | None]:
        """Return how many items an epoch has, the summed loss of some of them, and the judge."""

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from networks and their metric, shape (n,), without missing values.

        Raises:
            UserError: fewer than 5 networks, a constant or a non-finite metric.
        """
        check_values(graphs, values)
        schema = common_schema(graphs)
        device = compute_device()
        self._places = max(len(graph.operations) for graph in graphs)
        cells = _Cells.of(graphs, self._places).to(device)
        with (
            reproducible(),
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        ):
            torch.manual_seed(self.seed)
            self._network = self._fresh(schema).to(device)
            _train(self._network, self.recipe, self.size.epochs, *self._losses(cells, values))
        self.schema = schema
        return self

    def _fresh(self, schema: GraphSchema) -> _Network:
        kinds = len(schema.operations) + 1
        return _Network(kinds, self.size, self.outputs, self.recipe.dropout)

    def _embeddings(self, graphs: Sequence[Graph]) -> Tensor:
        """Return the global node's last layer, shape (graphs, hidden)."""
        self._check_space(graphs)
        device = next(self._network.parameters()).device
        portions = [graphs[start : start + _PORTION] for start in range(0, len(graphs), _PORTION)]
        with reproducible(), torch.inference_mode():
            embedded = [
                self._network.embed(_Cells.of(portion, self._places).to(device))
                for portion in portions
            ]
        return torch.cat(embedded)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {**super().settings(), "size": asdict(self.size)}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the network's weights and the nodes of the largest network learnt from."""
        self._check_fitted()
        weights = {name: value.cpu().numpy() for name, value in self._network.state_dict().items()}
        return {**weights, "places": np.array([self._places])}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = cls(settings["seed"], settings["valid"], EagleSize(**settings["size"]))
        check_layers(predictor.size.layers, state)
        network = predictor._fresh(schema)
        network.load_state_dict(
            {name: torch.from_numpy(state[name]) for name in network.state_dict()}
        )
        predictor._network = network.eval().to(compute_device())
        predictor._places = int(state["places"][0])
        predictor.schema = schema
        return predictor


class EagleRegressor(_Eagle):
    """Predicts a metric in its own unit from the pruned cell, with the published training.

    The loss is the absolute error of the metric itself, scaled to 0 to 1 over the networks to
    learn from; AdamW takes one network a step, the rate is halved when the loss on the networks
    held out stops falling. No standard deviation.

    Args:
        seed: of initial weights, held-out networks and order.
        valid: share of the networks that is held out to slow down and stop the training by, and
            to choose the best epoch; 0 to judge by the training's own loss.
        size: of the network and of its training.
    """

    recipe = _Recipe(batch=1, learning_rate=4e-4, dropout=0.002, cosine=False)
    outputs = 1

    def __init__(self, seed: int = 0, valid: float = 0.1, size: EagleSize | None = None) -> None:
        super().__init__(seed, valid, size)
        self._range = (0.0, 1.0)

    def _losses(
        self, cells: _Cells, values: NDArray[np.float64]
    ) -> tuple[int, Callable[[Tensor], Tensor], Callable[[], float] | None]:
        lowest, highest = float(values.min()), float(values.max())
        self._range = (lowest, highest)
        scaled = (values - lowest) / (highest - lowest)
        targets = torch.from_numpy(scaled.astype(np.float32)).to(cells.links.device)
        held_out, kept = drawn(len(values), self.valid)

        def error(rows: Tensor) -> Tensor:
            scores: Tensor = self._network.head(self._network.embed(cells.take(rows)))
            return (scores[:, 0] - targets[rows]).abs().sum()

        def judge() -> float:
            return float(error(held_out))

        return len(kept), lambda items: error(kept[items]), judge if len(held_out) else None

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Predict the metric of networks of the space it was fitted on."""
        embeddings = self._embeddings(graphs)
        with torch.inference_mode():
            scores = self._network.head(embeddings)[:, 0].cpu().double().numpy()
        lowest, highest = self._range
        return Prediction(scores * (highest - lowest) + lowest)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the network's weights and the metric's range."""
        return {**super().state(), "range": np.array(self._range)}

    @classmethod
    def restored(
        cls, settings: Mapping[str, Any], schema: GraphSchema, state: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Put a fitted predictor together from what `settings` and `state` gave."""
        predictor = super().restored(settings, schema, state)
        lowest, highest = state["range"].tolist()
        predictor._range = (lowest, highest)
        return predictor


class EagleRanker(_Eagle):
    """Learns which of two networks has the larger metric, by the published binary relation.

    Two embeddings side by side go through a linear layer and softmax: the probabilities that the
    first or the second is better. They are to be near the softmax of the two values (which are
    divided by their deviation first: the published code leaves their unit to the user), over all
    ordered pairs. The relation is not antisymmetric: a sort by it, as published, depends on the
    order that it starts from. Here a pair is asked both ways and the logits are averaged; since
    the head is linear, that is a difference of two scores, which are what is returned.

    Args:
        seed: of initial weights and order.
        valid: not used: as published, the training is stopped by its own loss.
        size: of the network and of its training.
    """

    recipe = _Recipe(batch=64, learning_rate=3.5e-4, dropout=0.2, cosine=True)
    outputs = 2

    def __init__(self, seed: int = 0, valid: float = 0.0, size: EagleSize | None = None) -> None:
        super().__init__(seed, valid, size)

    def _losses(
        self, cells: _Cells, values: NDArray[np.float64]
    ) -> tuple[int, Callable[[Tensor], Tensor], Callable[[], float] | None]:
        scaled = (values - values.mean()) / values.std()
        targets = torch.from_numpy(scaled.astype(np.float32)).to(cells.links.device)
        others = len(values) - 1

        def divergence(items: Tensor) -> Tensor:
            first, second = items // others, items % others
            second = second + (second >= first)  # no network is compared with itself
            pairs = torch.stack([first, second], 1).to(targets.device)  # (pairs, 2)
            # The same as two passes for every pair, but each network of a step passes once.
            rows, place = torch.unique(pairs, return_inverse=True)
            embedded = self._network.embed(cells.take(rows))[place].flatten(1)
            said = F.log_softmax(self._network.head(embedded), dim=1)
            wanted = F.log_softmax(targets[pairs], dim=1)
            return F.kl_div(said, wanted, reduction="sum", log_target=True)

        return len(values) * others, divergence, None

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Score networks: the larger, the larger the metric is expected to be."""
        embeddings = self._embeddings(graphs)
        first, second = self._network.head.weight.detach()  # (2 * hidden,) each
        as_first, as_second = (first - second).chunk(2)
        scores = embeddings @ ((as_first - as_second) / 2)
        return Prediction(scores.cpu().double().numpy())


@dataclass(frozen=True)
class _Cells:
    """Pruned graphs with a global node in front.

    Attributes:
        links: whom each node adds up: itself and those that read it; the global node all. Shape
            (graphs, places + 1, places + 1).
        kinds: operation of each node, one-hot, the global node's last; nothing for pruned nodes.
            Shape (graphs, places + 1, operations + 1).
    """

    links: Tensor
    kinds: Tensor

    @classmethod
    def of(cls, graphs: Sequence[Graph], places: int) -> _Cells:
        """Lay graphs out; the global node also counts empty places up to ``places``."""
        names = graphs[0].schema.operations
        sizes = np.array([len(graph.operations) for graph in graphs])
        room = max(places, int(sizes.max()))
        kind = np.concatenate([graph.operations for graph in graphs])
        live = np.concatenate([graph.live for graph in graphs])
        row, node = np.nonzero(np.arange(room) < sizes[:, None])
        survives = np.zeros((len(graphs), room), bool)
        survives[row, node] = live
        owner = np.repeat(np.arange(len(graphs)), [len(graph.edges) for graph in graphs])
        source, target = np.concatenate([graph.edges for graph in graphs]).T
        links = np.zeros((len(graphs), room, room), bool)
        links[owner, source, target] = survives[owner, source] & survives[owner, target]
        # Data passes a skip connection unchanged: those before it are linked to those behind it.
        passes = np.zeros_like(survives)
        passes[row, node] = np.array([name == _NOTHING for name in names])[kind]
        for here in range(room):
            skipped = passes[:, here, None, None]
            links |= skipped & links[:, :, here, None] & links[:, here, None, :]
        links &= ~(passes[:, :, None] | passes[:, None, :])
        shown = (live & ~passes[row, node]) | np.isin(
            kind, [names.index(n) for n in _ENDS if n in names]
        )
        kinds = np.zeros((len(graphs), room + 1, len(names) + 1), np.float32)
        kinds[row[shown], node[shown] + 1, kind[shown]] = 1
        kinds[:, 0, -1] = 1
        framed = np.zeros((len(graphs), room + 1, room + 1), np.float32)
        framed[:, 1:, 1:] = links
        framed[:, 0, 1:] = np.arange(room) < np.maximum(sizes, places)[:, None]
        framed[:, range(room + 1), range(room + 1)] = 1
        return cls(torch.from_numpy(framed), torch.from_numpy(kinds))

    def take(self, rows: Tensor) -> _Cells:
        """Return some of the graphs."""
        return _Cells(self.links[rows], self.kinds[rows])

    def to(self, device: torch.device) -> _Cells:
        """Copy to a device."""
        return _Cells(self.links.to(device), self.kinds.to(device))


class _Network(nn.Module):
    """Layers of graph convolution, each with layer norm and ReLU, and a linear head.

    Kipf & Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017,
    eq. 2, without division by the degree: H' = ReLU(LayerNorm(A H W + b)).
    """

    def __init__(self, kinds: int, size: EagleSize, outputs: int, dropout: float) -> None:
        super().__init__()
        hidden = size.hidden
        widths = [kinds] + [hidden] * (size.layers - 1)
        self.layers = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in widths)
        self.drop = nn.Dropout(dropout)
        # A binary relation sees two embeddings.
        self.head = nn.Linear(hidden * outputs, outputs)
        bound = 1 / math.sqrt(hidden)
        for parameter in self.layers.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def embed(self, cells: _Cells) -> Tensor:
        """Return the global node's last layer, shape (graphs, hidden)."""
        h = cells.kinds
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = self.drop(F.relu(norm(layer(cells.links @ h))))  # (graphs, nodes, hidden)
        return h[:, 0]


def _train(
    network: _Network,
    recipe: _Recipe,
    epochs: int,
    items: int,
    loss: Callable[[Tensor], Tensor],
    judge: Callable[[], float] | None,
) -> None:
    """Train as published, and keep the weights of the best epoch.

    Args:
        network: whose weights are changed.
        recipe: of the training.
        epochs: at most.
        items: in an epoch, which are drawn in another order each time.
        loss: summed over some items.
        judge: gives the loss that epochs are compared by; None to take the epoch's own.
    """
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=_WEIGHT_DECAY, fused=True
    )
    schedule = torch.optim.lr_scheduler
    cosine = schedule.CosineAnnealingLR(optimiser, epochs) if recipe.cosine else None
    plateau = schedule.ReduceLROnPlateau(
        optimiser, factor=0.5, patience=_SLOWER_AFTER, threshold=0.01
    )
    steps = -(-items // recipe.batch)
    lowest, best, waited = math.inf, copy.deepcopy(network.state_dict()), 0
    for epoch in range(epochs):
        network.train()
        own = 0.0
        for some in torch.randperm(items).chunk(steps):
            optimiser.zero_grad()
            error = loss(some)
            torch.autograd.backward(error)
            optimiser.step()
            own += error.item()
        network.eval()
        with torch.no_grad():
            now = judge() if judge else own
        waited += 1
        if now < lowest:
            lowest, best, waited = now, copy.deepcopy(network.state_dict()), 0
        if cosine:
            cosine.step()
        elif epoch > _WARM_UP:
            plateau.step(now)
        if epoch > _WARM_UP and waited >= _STOP_AFTER:
            break
    network.load_state_dict(best)
    network.eval()
