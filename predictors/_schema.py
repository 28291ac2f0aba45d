"""What graphs have in common: their schema, their edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.spaces import Graph, GraphSchema

__all__ = ["check_edges", "check_space", "common_schema", "same_edges"]


def common_schema(graphs: Sequence[Graph]) -> GraphSchema:
    """Return the schema of graphs that all come from one space.

    Raises:
        UserError: no graphs, or graphs of several spaces.
    """
    if not graphs:
        raise UserError("no networks given")
    schema = graphs[0].schema
    for graph in graphs:
        if graph.schema is not schema and graph.schema != schema:
            raise UserError(f"networks of two spaces: {schema.space} and {graph.schema.space}")
    return schema


def check_space(known: GraphSchema, graphs: Sequence[Graph]) -> None:
    """Raise UserError unless these graphs are of the space that a predictor was fitted on."""
    schema = common_schema(graphs)
    if schema != known:
        raise UserError(
            f"this predictor was fitted on networks of space '{known.space}', "
            f"not on those of '{schema.space}'"
        )


def same_edges(graphs: Sequence[Graph], nodes: int, edges: NDArray[np.int64]) -> bool:
    """Tell whether all graphs have so many nodes and these edges, shape (edges, 2)."""
    return all(
        (graph.edges is edges or np.array_equal(graph.edges, edges))
        and len(graph.operations) == nodes
        for graph in graphs
    )


def check_edges(graphs: Sequence[Graph], nodes: int, edges: NDArray[np.int64]) -> None:
    """Raise UserError unless all graphs have the edges that all training graphs have."""
    if not same_edges(graphs, nodes, edges):
        raise UserError(
            "all networks that this predictor was fitted on have the same edges, and some of "
            "those to predict have others: fit it on a mixture"
        )
