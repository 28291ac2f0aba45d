"""The schema that graphs share."""

from __future__ import annotations

from collections.abc import Sequence

from brpnas.errors import UserError
from brpnas.spaces import Graph, GraphSchema

__all__ = ["common_schema"]


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
