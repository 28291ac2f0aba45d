"""Graphs as tensors: many networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brpnas.spaces import Graph

__all__ = ["GraphBatch"]


@dataclass(frozen=True)
class GraphBatch:
    """Networks whose nodes are laid out one after the other.

    Where all graphs have the same edges (the cells of a NAS-Bench space), the nodes are laid out
    node by node, all networks of a node together, so that messages are one matrix product;
    otherwise network by network, and messages are summed along ``edges``.

    Attributes:
        graphs: number of networks.
        operations: operation of each node, shape (nodes,).
        numbers: properties of each node, shape (nodes, numbers).
        live: whether a node survives pruning, shape (nodes, 1), 0 or 1.
        owner: which network a node belongs to, shape (nodes,).
        edges: (2, edges) source and target node; of one network only if ``alike``.
        alike: nodes per network if all have the same edges, else 0.
    """

    graphs: int
    operations: Tensor
    numbers: Tensor
    live: Tensor
    owner: Tensor
    edges: Tensor
    alike: int

    @classmethod
    def of(cls, graphs: Sequence[Graph], *, dense: bool = True) -> GraphBatch:
        """Lay graphs out; ``dense=False`` takes the general layout even where all are alike."""
        count = len(graphs)
        first = graphs[0].edges
        alike = (
            dense
            and all(graph.edges is first or np.array_equal(graph.edges, first) for graph in graphs)
            and len({len(graph.operations) for graph in graphs}) == 1
        )
        if alike:
            nodes = len(graphs[0].operations)
            operations = np.stack([graph.operations for graph in graphs], 1).ravel()
            numbers = np.stack([graph.numbers for graph in graphs], 1)
            numbers = numbers.reshape(nodes * count, -1)
            live = np.stack([graph.live for graph in graphs], 1).ravel()
            owner = np.tile(np.arange(count), nodes)
            edges = first.T
        else:
            sizes = np.array([len(graph.operations) for graph in graphs])
            nodes = 0
            operations = np.concatenate([graph.operations for graph in graphs])
            numbers = np.concatenate([graph.numbers for graph in graphs])
            live = np.concatenate([graph.live for graph in graphs])
            owner = np.repeat(np.arange(count), sizes)
            starts = np.cumsum(sizes) - sizes
            edges = np.concatenate(
                [graph.edges + start for graph, start in zip(graphs, starts, strict=True)]
            ).T
        return cls(
            graphs=count,
            operations=torch.from_numpy(operations),
            numbers=torch.from_numpy(numbers),
            live=torch.from_numpy(live.astype(np.float32))[:, None],
            owner=torch.from_numpy(owner),
            edges=torch.from_numpy(np.ascontiguousarray(edges)),
            alike=nodes,
        )

    def take(self, rows: Tensor) -> GraphBatch:
        """Return some of the networks (of a batch of networks that are alike)."""
        picked = (
            torch.arange(self.alike, device=rows.device)[:, None] * self.graphs + rows
        ).flatten()
        return GraphBatch(
            graphs=len(rows),
            operations=self.operations[picked],
            numbers=self.numbers[picked],
            live=self.live[picked],
            owner=torch.arange(len(rows), device=rows.device).repeat(self.alike),
            edges=self.edges,
            alike=self.alike,
        )

    def to(self, device: torch.device) -> GraphBatch:
        """Copy the tensors to a device."""
        return GraphBatch(
            self.graphs,
            self.operations.to(device),
            self.numbers.to(device),
            self.live.to(device),
            self.owner.to(device),
            self.edges.to(device),
            self.alike,
        )
