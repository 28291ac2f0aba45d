"""The graph network: several members of an ensemble computed side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.predictors._batch import GraphBatch

__all__ = ["GraphNetwork", "NetworkSize"]


@dataclass(frozen=True)
class NetworkSize:
    """Size of a graph network.

    Attributes:
        operations: size of the vocabulary.
        numbers: numbers per node.
        hidden: width of node and graph embeddings.
        layers: rounds of message passing.
        members: networks in the ensemble, trained side by side and independent of each other.
    """

    operations: int
    numbers: int
    hidden: int = 64
    layers: int = 3
    members: int = 3


class _Linear(nn.Module):
    """One linear layer per member: (members, rows, inputs) -> (members, rows, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(inputs, 1))  # a space may have no numbers
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class _Norm(nn.Module):
    """Layer normalisation with gains of each member's own."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.gain)


class _Messages(nn.Module):
    """Residual message passing along and against the edges, of the written and the live graph."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.norm = _Norm(size.members, size.hidden)
        self.mix = _Linear(size.members, 5 * size.hidden, size.hidden)
        self.out = _Linear(size.members, size.hidden, size.hidden)

    def forward(self, h: Tensor, batch: GraphBatch) -> Tensor:  # (members, nodes, hidden)
        x = self.norm(h)
        alive = x * batch.live
        source, target = batch.edges
        heard = torch.cat(
            [
                x,
                _collect(x, source, target, batch),
                _collect(x, target, source, batch),
                _collect(alive, source, target, batch) * batch.live,
                _collect(alive, target, source, batch) * batch.live,
            ],
            dim=2,
        )
        update: Tensor = self.out(F.relu(self.mix(heard)))
        return h + update


def _collect(x: Tensor, source: Tensor, target: Tensor, batch: GraphBatch) -> Tensor:
    """Sum, for every node, over the nodes with an edge to it."""
    if not batch.alike:
        return _scatter(x[:, source], target, x.shape[1], "sum")
    adjacency = x.new_zeros(batch.alike, batch.alike)
    adjacency.index_put_((target, source), x.new_ones(()), accumulate=True)
    members, _, hidden = x.shape
    # Nodes of one kind lie together, so all networks share one product with the adjacency.
    by_node = x.view(members, batch.alike, batch.graphs * hidden)
    return torch.matmul(adjacency, by_node).view_as(x)


class GraphNetwork(nn.Module):
    """Embeds graphs and gives each a score.

    Nodes start from embeddings of their operation as written and as surviving and from their
    numbers; rounds of residual message passing follow; the graph is read out as mean and maximum
    over the written and over the live nodes, and a perceptron gives the score.

    Args:
        size: widths and depths.
    """

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.size = size
        members, hidden = size.members, size.hidden
        scale = 1 / math.sqrt(2)
        self.written = nn.Parameter(torch.randn(members, size.operations, hidden) * scale)
        self.surviving = nn.Parameter(torch.randn(members, size.operations + 1, hidden) * scale)
        self.numbers = _Linear(members, size.numbers, hidden)
        self.messages = nn.ModuleList(_Messages(size) for _ in range(size.layers))
        self.norm = _Norm(members, hidden)
        self.embed = _Linear(members, 4 * hidden, hidden)
        self.score = _Linear(members, hidden, 1)
        # The numbers' scale is learnt from the training graphs and is part of the network.
        self.register_buffer("number_mean", torch.zeros(size.numbers))
        self.register_buffer("number_std", torch.ones(size.numbers))

    def calibrate(self, batch: GraphBatch) -> None:
        """Take mean and deviation of the nodes' numbers from these graphs."""
        self.number_mean = batch.numbers.mean(0)
        self.number_std = batch.numbers.std(0).clamp_min(1e-6)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return a score of each network by each member, shape (members, graphs)."""
        dead = self.size.operations
        surviving = torch.where(batch.live[:, 0] > 0, batch.operations, dead)
        numbers = (batch.numbers - self.number_mean) / self.number_std
        h = (
            self.written[:, batch.operations]
            + self.surviving[:, surviving]
            + self.numbers(numbers.expand(self.size.members, -1, -1))
        )
        for layer in self.messages:
            h = layer(h, batch)
        embedding = F.relu(self.embed(_read_out(self.norm(h), batch)))
        scores: Tensor = self.score(embedding)
        return scores[..., 0]


def _read_out(h: Tensor, batch: GraphBatch) -> Tensor:
    """Mean and maximum over the written and the live nodes: (members, graphs, 4 * hidden)."""
    live = batch.live
    alive = h * live
    # A network without a live node reads zero rather than minus infinity.
    masked = torch.where(live > 0, h, h.new_tensor(-1e4))
    if batch.alike:
        shape = (h.shape[0], batch.alike, batch.graphs, h.shape[2])
        count = live.view(batch.alike, batch.graphs, 1).sum(0).clamp_min(1)
        parts = (
            h.view(shape).mean(1),
            h.view(shape).amax(1),
            alive.view(shape).sum(1) / count,
            masked.view(shape).amax(1),
        )
    else:
        owner, graphs = batch.owner, batch.graphs
        count = _scatter(live[None], owner, graphs, "sum").clamp_min(1)
        parts = (
            _scatter(h, owner, graphs, "mean"),
            _scatter(h, owner, graphs, "amax"),
            _scatter(alive, owner, graphs, "sum") / count,
            _scatter(masked, owner, graphs, "amax"),
        )
    *others, highest = parts
    return torch.cat([*others, torch.where(highest > -1e3, highest, 0.0)], dim=2)


def _scatter(x: Tensor, index: Tensor, size: int, reduce: str) -> Tensor:
    """Reduce rows (members, rows, width) that share an index: (members, size, width)."""
    target = x.new_zeros(x.shape[0], size, x.shape[2])
    return target.scatter_reduce(
        1, index[None, :, None].expand_as(x), x, reduce, include_self=False
    )
