"""Graphs as tensors: many networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brpnas.predictors._schema import same_edges
from brpnas.spaces import Graph

__all__ = ["GraphBatch"]


@dataclass(frozen=True)
class GraphBatch:
    """Networks side by side, node by node, filled up with empty nodes to the largest of them.

    Attributes:
        operations: operation of each node, shape (nodes, graphs).
        numbers: properties of each node, shape (nodes, graphs, numbers).
        live: 1 where a node survives pruning, else 0, shape (nodes, graphs, 1).
        there: 0 where a node only fills up, else 1, shape (nodes, graphs, 1).
        adjacency: edges from the second to the first node, shape (nodes, nodes) where all
            networks have the same (the cells of NAS-Bench-201), else (graphs, nodes, nodes).
    """

    operations: Tensor
    numbers: Tensor
    live: Tensor
    there: Tensor
    adjacency: Tensor

    @classmethod
    def of(cls, graphs: Sequence[Graph], *, shared: bool = True) -> GraphBatch:
        """Lay graphs out; ``shared=False`` gives each its edges even where all are the same."""
        sizes = np.array([len(graph.operations) for graph in graphs])
        count, nodes = len(graphs), int(sizes.max())
        there = np.arange(nodes)[:, None] < sizes  # (nodes, graphs)
        graph_of, node_of = there.T.nonzero()  # in the order of the graphs' own arrays
        operations = np.zeros((nodes, count), np.int64)
        operations[node_of, graph_of] = np.concatenate([graph.operations for graph in graphs])
        live = np.zeros((nodes, count, 1), np.float32)
        live[node_of, graph_of, 0] = np.concatenate([graph.live for graph in graphs])
        numbers = np.zeros((nodes, count, graphs[0].numbers.shape[1]), np.float32)
        numbers[node_of, graph_of] = np.concatenate([graph.numbers for graph in graphs])
        first = graphs[0].edges
        if shared and same_edges(graphs, nodes, first):
            adjacency = np.zeros((nodes, nodes), np.float32)
            np.add.at(adjacency, (first[:, 1], first[:, 0]), 1)
        else:
            adjacency = np.zeros((count, nodes, nodes), np.float32)
            owner = np.repeat(np.arange(count), [len(graph.edges) for graph in graphs])
            source, target = np.concatenate([graph.edges for graph in graphs]).T
            np.add.at(adjacency, (owner, target, source), 1)
        return cls(
            torch.from_numpy(operations),
            torch.from_numpy(numbers),
            torch.from_numpy(live),
            torch.from_numpy(there.astype(np.float32))[:, :, None],
            torch.from_numpy(adjacency),
        )

    def take(self, rows: Tensor) -> GraphBatch:
        """Return some of the networks."""
        shared = self.adjacency.dim() == 2
        return GraphBatch(
            self.operations[:, rows],
            self.numbers[:, rows],
            self.live[:, rows],
            self.there[:, rows],
            self.adjacency if shared else self.adjacency[rows],
        )

    def to(self, device: torch.device) -> GraphBatch:
        """Copy the tensors to a device."""
        return GraphBatch(*(one.to(device) for one in vars(self).values()))
