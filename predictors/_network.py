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
        deviation: of the metric's logarithm, if there is to be a score as a sum over nodes too.
    """

    operations: int
    numbers: int
    hidden: int = 64
    layers: int = 3
    members: int = 3
    deviation: float | None = None


class _Linear(nn.Module):
    """One linear layer per member: (members, ..., inputs) -> (members, ..., outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(inputs, 1))  # a space may have no numbers
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.baddbmm(self.bias, x.flatten(1, -2), self.weight)
        return rows.view(*x.shape[:-1], -1)


class _Norm(nn.Module):
    """Layer normalisation with gains of each member's own: (members, nodes, graphs, width)."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        gain, bias = self.gain[:, None], self.bias[:, None]
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:]), gain)


class _Messages(nn.Module):
    """Residual message passing along and against the edges, of the written and the live graph."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.norm = _Norm(size.members, size.hidden)
        self.mix = _Linear(size.members, 5 * size.hidden, size.hidden)
        self.out = _Linear(size.members, size.hidden, size.hidden)

    def forward(self, h: Tensor, batch: GraphBatch) -> Tensor:  # (members, nodes, graphs, hidden)
        x = self.norm(h)
        alive = x * batch.live
        there, back = _collect(x, alive, batch.adjacency)
        heard = torch.cat(
            [x, there[0], back[0], there[1] * batch.live, back[1] * batch.live], dim=3
        )
        update: Tensor = self.out(F.relu(self.mix(heard)))
        return h + update


def _collect(x: Tensor, alive: Tensor, adjacency: Tensor) -> list[list[Tensor]]:
    """Sum over the nodes with an edge to each node, and over those that it has an edge to.

    Each sum is made of ``x`` and of ``alive``, both (members, nodes, graphs, hidden).
    """
    if adjacency.dim() == 2:
        # Nodes of one kind lie together, so all networks share one product with the adjacency.
        flat = [one.flatten(2) for one in (x, alive)]
        return [
            [torch.matmul(edges, one).view_as(x) for one in flat]
            for edges in (adjacency, adjacency.T)
        ]
    both = torch.stack([x, alive])  # (2, members, nodes, graphs, hidden)
    rows = both.permute(3, 2, 0, 1, 4)
    flat_rows = rows.flatten(2)  # (graphs, nodes, 2 * members * hidden)
    return [
        list(torch.bmm(edges, flat_rows).view_as(rows).permute(2, 3, 1, 0, 4))
        for edges in (adjacency, adjacency.transpose(1, 2))
    ]


class GraphNetwork(nn.Module):
    """Embeds graphs and gives each a score.

    Nodes start from embeddings of their operation as written and as surviving and from their
    numbers; rounds of residual message passing follow; the graph is read out as mean and maximum
    over the written and over the live nodes, and a perceptron gives the score.

    What a network costs where its layers run one after another is the sum of what they cost, which
    means and maxima do not say. So there may be a second score from the same nodes: the logarithm
    of a sum over the written nodes of positive terms, in deviations of the metric's logarithm.

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
        self.term = None if size.deviation is None else _Linear(members, hidden, 1)
        # The numbers' scale is learnt from the training graphs and is part of the network.
        self.register_buffer("number_mean", torch.zeros(size.numbers))
        self.register_buffer("number_std", torch.ones(size.numbers))
        self.register_buffer("mean_nodes", torch.ones(()))

    def calibrate(self, batch: GraphBatch) -> None:
        """Take the mean number of nodes, and mean and deviation of their numbers, from graphs."""
        self.mean_nodes = batch.there.sum(0).mean()
        numbers = batch.numbers[batch.there[:, :, 0] > 0]
        self.number_mean = numbers.mean(0)
        self.number_std = numbers.std(0).clamp_min(1e-6)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return a score of each network by each member, shape (members, graphs).

        With the scores as sums after them it is (2 * members, graphs).
        """
        dead = self.size.operations
        surviving = torch.where(batch.live[:, :, 0] > 0, batch.operations, dead)
        numbers = (batch.numbers - self.number_mean) / self.number_std
        h = (
            self.written[:, batch.operations]
            + self.surviving[:, surviving]
            + self.numbers(numbers.expand(self.size.members, -1, -1, -1))
        )
        for layer in self.messages:
            h = layer(h, batch)
        h = self.norm(h)
        scores: Tensor = self.score(F.relu(self.embed(_read_out(h, batch))))[..., 0]
        if self.term is None or self.size.deviation is None:
            return scores
        # In units in which the terms' logarithms are as large as a score, whatever the deviation.
        logs = self.term(h)[..., 0] * self.size.deviation
        total = torch.where(batch.there[:, :, 0] > 0, logs, -torch.inf).logsumexp(1)
        return torch.cat([scores, (total - self.mean_nodes.log()) / self.size.deviation])


def _read_out(h: Tensor, batch: GraphBatch) -> Tensor:
    """Mean and maximum over the written and the live nodes: (members, graphs, 4 * hidden)."""
    parts = []
    for counted in (batch.there, batch.live):
        # A network without a live node reads zero rather than minus infinity.
        count = counted.sum(0).clamp_min(1)
        highest = torch.where(counted > 0, h, h.new_tensor(-1e4)).amax(1)
        parts += [(h * counted).sum(1) / count, torch.where(highest > -1e3, highest, 0.0)]
    return torch.cat(parts, dim=2)
