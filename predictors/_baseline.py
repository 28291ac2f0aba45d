"""What predictors with few settings share: settings, checks, graphs as columns and as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.predictors._features import VIEWS, GraphFeatures
from brpnas.predictors._schema import check_space
from brpnas.predictors.predictor import SavablePredictor
from brpnas.spaces import Graph, GraphSchema

__all__ = ["Baseline", "Columns", "divided", "pack", "unpack"]


class Baseline(SavablePredictor):
    """A predictor whose settings are its seed and the share that is held out."""

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {"seed": self.seed, "valid": self.valid}

    def _check_fitted(self) -> GraphSchema:
        """Return the schema of the graphs that it was fitted on; raise UserError before."""
        if self.schema is None:
            raise UserError("this predictor was not fitted")
        return self.schema

    def _check_space(self, graphs: Sequence[Graph]) -> None:
        """Raise UserError unless it was fitted, and on networks of these graphs' space."""
        check_space(self._check_fitted(), graphs)


@dataclass(frozen=True)
class Columns:
    """All views of graphs in one matrix: the columns that tell the training graphs apart.

    Attributes:
        features: of the training graphs.
        kept: which of their columns, the views one after the other.
    """

    features: GraphFeatures
    kept: NDArray[np.int64]

    @classmethod
    def of(cls, graphs: Sequence[Graph]) -> Columns:
        """Leave out columns that are constant on these graphs or equal another."""
        features = GraphFeatures.of(graphs)
        table = _joined(features, graphs)
        first = np.unique(table, axis=1, return_index=True)[1]
        varying = np.sort(first[np.ptp(table[:, first], axis=0) > 0])
        # Equal networks may have different values: one constant column says nothing, as it should.
        return cls(features, varying if len(varying) else np.zeros(1, np.int64))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return arrays that ``restored`` makes the same of."""
        return {**self.features.state(), "kept": self.kept}

    @classmethod
    def restored(cls, schema: GraphSchema, state: Mapping[str, NDArray[Any]]) -> Columns:
        """Put them together from what ``state`` gave.

        Raises:
            KeyError or ValueError: it is not that, or of another schema.
        """
        features, kept = GraphFeatures.restored(schema, state), state["kept"]
        there = sum(len(mean) for mean in features.mean.values())
        if not ((kept >= 0) & (kept < there)).all():
            raise ValueError(f"its columns are not among the {there} of its networks")
        return cls(features, kept)

    def __call__(self, graphs: Sequence[Graph]) -> NDArray[np.float32]:
        """Return the columns of graphs, shape (graphs, columns).

        Raises:
            UserError: graphs of another space, or of another shape than the training graphs.
        """
        return _joined(self.features, graphs)[:, self.kept]


def _joined(features: GraphFeatures, graphs: Sequence[Graph]) -> NDArray[np.float32]:
    views = features(graphs)
    return np.concatenate([views[name] for name in VIEWS], axis=1)


def divided(state: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the arrays of each part of a predictor: of ``part.name`` by part and name."""
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts


def pack(graphs: Sequence[Graph]) -> dict[str, NDArray[Any]]:
    """Return graphs of one space as arrays, for a file; `unpack` puts them together again."""
    return {
        "nodes": np.array([len(graph.operations) for graph in graphs]),
        "links": np.array([len(graph.edges) for graph in graphs]),
        "operations": np.concatenate([graph.operations for graph in graphs]),
        "numbers": np.concatenate([graph.numbers for graph in graphs]),
        "edges": np.concatenate([graph.edges for graph in graphs]),
        "live": np.concatenate([graph.live for graph in graphs]),
    }


def unpack(schema: GraphSchema, state: Mapping[str, NDArray[Any]]) -> list[Graph]:
    """Put graphs together from what `pack` gave.

    Raises:
        KeyError or ValueError: something is missing, or not of this schema.
    """
    nodes, links, edges = state["nodes"], state["links"], state["edges"]
    operations, numbers, live = state["operations"], state["numbers"], state["live"]
    if not (
        len(nodes) == len(links)
        and (nodes > 0).all()
        and (links >= 0).all()
        and links.sum() == len(edges)
        and len(operations) == len(numbers) == len(live) == nodes.sum()
        and numbers.shape[1:] == (len(schema.numbers),)
        and edges.shape[1:] == (2,)
        and ((operations >= 0) & (operations < len(schema.operations))).all()
        and ((edges >= 0) & (edges < np.repeat(nodes, links)[:, None])).all()
    ):
        raise ValueError(f"its networks are not of space '{schema.space}'")
    cuts = np.cumsum(nodes)[:-1]
    parts = [np.split(each, cuts) for each in (operations, numbers, live)]
    return [
        Graph(schema, operation, number, edge, alive)
        for operation, number, alive, edge in zip(
            *parts, np.split(edges, np.cumsum(links)[:-1]), strict=True
        )
    ]
