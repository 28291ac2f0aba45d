"""Graphs as rows of numbers, for models that compare networks by what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.predictors._schema import check_edges, check_space, common_schema, same_edges
from brpnas.spaces import Graph, GraphSchema

__all__ = ["VIEWS", "GraphFeatures"]

VIEWS = ("written", "surviving", "wiring")
"""What hardware may run: all that was written, what survives pruning, and how that is wired."""

_CHUNK = 4096

Features = NDArray[np.float32]


@dataclass(frozen=True)
class GraphFeatures:
    """Turns graphs of one space into one matrix per view.

    Where all training graphs have the same edges (the cells of NAS-Bench-201), every node has
    columns of its own: its operation and its live neighbours' operations, as 0 and 1, and its
    numbers. Graphs of any shape have counts of operations and of operations side by side, sums of
    numbers, and the longest live paths, each divided by its deviation over the training graphs.

    Attributes:
        schema: of the graphs.
        edges: those that all graphs share, shape (edges, 2); None if they differ.
        flags: how many of a view's columns, the first ones, are 0 or 1.
        mean: taken from every column, by view.
        scale: multiplied with every column, by view.
    """

    schema: GraphSchema
    edges: NDArray[np.int64] | None
    flags: Mapping[str, int]
    mean: Mapping[str, Features]
    scale: Mapping[str, Features]

    @classmethod
    def of(cls, graphs: Sequence[Graph]) -> GraphFeatures:
        """Learn shape and scale from the training graphs.

        Raises:
            UserError: no graphs, or of several spaces.
        """
        schema = common_schema(graphs)
        first = graphs[0].edges
        edges = first if same_edges(graphs, len(graphs[0].operations), first) else None
        count, mean, scale = {}, {}, {}
        for name, (flags, amounts) in _views(_Dense.of(graphs, schema), edges is not None).items():
            count[name] = flags.shape[1]
            middle, std = amounts.mean(0), amounts.std(0)
            # A column that is constant here may not be elsewhere: its size tells its unit.
            size = np.where(middle == 0, 1, 0.1 * np.abs(middle))
            unit = np.maximum(std, size)
            mean[name] = np.concatenate([np.zeros(flags.shape[1]), middle]).astype(np.float32)
            scale[name] = np.concatenate([np.ones(flags.shape[1]), 1 / unit]).astype(np.float32)
        return cls(schema, edges, count, mean, scale)

    @property
    def nodes(self) -> int:
        """Nodes of each network, where all have the same edges."""
        return self.flags["written"] // len(self.schema.operations)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return arrays that ``restored`` makes the same of."""
        shape = {} if self.edges is None else {"edges": self.edges}
        for name in VIEWS:
            shape[f"flags.{name}"] = np.array([self.flags[name]])
        means = {f"mean.{name}": self.mean[name] for name in VIEWS}
        return {**shape, **means, **{f"scale.{name}": self.scale[name] for name in VIEWS}}

    @classmethod
    def restored(cls, schema: GraphSchema, state: Mapping[str, NDArray[Any]]) -> GraphFeatures:
        """Put it together from what ``state`` gave.

        Raises:
            KeyError or ValueError: it is not that, or of another schema.
        """
        kinds, numbers = len(schema.operations), len(schema.numbers)
        nodes, rest = divmod(int(state["flags.written"][0]), kinds)
        if rest or len(state["mean.written"]) != nodes * kinds + kinds + max(nodes, 1) * numbers:
            raise ValueError(f"not of networks of space '{schema.space}'")
        return cls(
            schema,
            state.get("edges"),
            {name: int(state[f"flags.{name}"][0]) for name in VIEWS},
            {name: state[f"mean.{name}"] for name in VIEWS},
            {name: state[f"scale.{name}"] for name in VIEWS},
        )

    def __call__(self, graphs: Sequence[Graph]) -> dict[str, Features]:
        """Return each view of the graphs, shape (graphs, columns).

        Raises:
            UserError: graphs of another space, or of another shape than the training graphs.
        """
        check_space(self.schema, graphs)
        if self.edges is not None:
            check_edges(graphs, self.nodes, self.edges)
        parts: dict[str, list[Features]] = {name: [] for name in VIEWS}
        for start in range(0, len(graphs), _CHUNK):
            dense = _Dense.of(graphs[start : start + _CHUNK], self.schema)
            for name, columns in _views(dense, self.edges is not None).items():
                raw = np.concatenate(columns, 1)
                parts[name].append((raw - self.mean[name]) * self.scale[name])
        return {name: np.concatenate(part) for name, part in parts.items()}


@dataclass(frozen=True)
class _Dense:
    """Graphs side by side, filled up to the largest with nodes without operation.

    Attributes:
        written: operation of each node, one-hot, shape (graphs, nodes, operations).
        live: the same of the nodes that survive.
        numbers: shape (graphs, nodes, numbers).
        adjacency: live edges, [graph, source, target], shape (graphs, nodes, nodes).
    """

    written: Features
    live: Features
    numbers: Features
    adjacency: Features

    @classmethod
    def of(cls, graphs: Sequence[Graph], schema: GraphSchema) -> _Dense:
        count, nodes = len(graphs), max(len(graph.operations) for graph in graphs)
        sizes = np.array([len(graph.operations) for graph in graphs])
        there = np.arange(nodes) < sizes[:, None]
        written = np.zeros((count, nodes, len(schema.operations)), np.float32)
        row, node = np.nonzero(there)
        written[row, node, np.concatenate([graph.operations for graph in graphs])] = 1
        survives = np.zeros((count, nodes, 1), np.float32)
        survives[row, node, 0] = np.concatenate([graph.live for graph in graphs])
        numbers = np.zeros((count, nodes, len(schema.numbers)), np.float32)
        numbers[row, node] = np.concatenate([graph.numbers for graph in graphs])
        adjacency = np.zeros((count, nodes, nodes), np.float32)
        owner = np.repeat(np.arange(count), [len(graph.edges) for graph in graphs])
        source, target = np.concatenate([graph.edges for graph in graphs]).T
        adjacency[owner, source, target] = 1
        adjacency *= survives * survives.transpose(0, 2, 1)
        return cls(written, written * survives, numbers, adjacency)


def _views(dense: _Dense, aligned: bool) -> dict[str, tuple[Features, Features]]:
    """Return each view's columns: of zeros and ones, and of amounts."""
    count = len(dense.written)
    forward = dense.adjacency.transpose(0, 2, 1) @ dense.live  # operations that a node reads
    backward = dense.adjacency @ dense.live
    bigrams = dense.live.transpose(0, 2, 1) @ forward
    none = np.zeros((count, 0), np.float32)
    survives = dense.live.sum(2, keepdims=True)

    def flat(*columns: Features) -> Features:
        return np.concatenate([one.reshape(count, -1) for one in columns], 1)

    return {
        "written": (
            flat(dense.written) if aligned else none,
            flat(dense.written.sum(1), *([dense.numbers] if aligned else [dense.numbers.sum(1)])),
        ),
        "surviving": (
            flat(dense.live) if aligned else none,
            flat(
                dense.live.sum(1),
                (dense.numbers * survives).sum(1),
                dense.adjacency.sum(2) if aligned else dense.adjacency.sum((1, 2))[:, None],
                _longest(dense),
            ),
        ),
        "wiring": (
            flat(forward, backward) if aligned else none,
            flat(bigrams, *([] if aligned else [_degrees(dense)])),
        ),
    }


def _longest(dense: _Dense) -> Features:
    """Most operations of each kind, and of any kind, on one live path: (graphs, kinds + 1)."""
    weights = np.concatenate([dense.live, dense.live.sum(2, keepdims=True)], 2)
    longest = weights.copy()
    wired = dense.adjacency.max(0)  # above 0 where an edge is in any of the graphs
    for _ in range(len(wired)):  # one pass, and one to see that it was, where edges lead onwards
        before = longest.copy()
        for node in range(len(wired)):
            sources = np.flatnonzero(wired[:, node])
            if len(sources):
                linked = dense.adjacency[:, sources, node, None]
                longest[:, node] = weights[:, node] + (longest[:, sources] * linked).max(1)
        if np.array_equal(longest, before):
            break
    best: Features = longest.max(1)
    return best


def _degrees(dense: _Dense) -> Features:
    """How many live nodes have 0, 1, 2, ... live inputs, and outputs: (graphs, 2 * 4)."""
    survives = dense.live.sum(2) > 0
    columns = [
        ((degree == wanted) if wanted < 3 else (degree >= wanted))[..., None] & survives[..., None]
        for degree in (dense.adjacency.sum(1), dense.adjacency.sum(2))
        for wanted in range(4)
    ]
    counts: Features = np.concatenate(columns, 2).sum(1).astype(np.float32)
    return counts
