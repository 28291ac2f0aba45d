from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from brpnas.spaces import Graph


@pytest.fixture(scope="session")
def first_nodes() -> Callable[[Graph, int], Graph]:
    """Return what is left of a graph that has its first nodes only."""

    def cut(graph: Graph, nodes: int) -> Graph:
        return replace(
            graph,
            operations=graph.operations[:nodes],
            numbers=graph.numbers[:nodes],
            edges=graph.edges[(graph.edges < nodes).all(1)],
            live=graph.live[:nodes],
        )

    return cut


@pytest.fixture(scope="session")
def reordered() -> Callable[[Graph, NDArray[np.int64]], Graph]:
    """Return the same graph with its nodes in another order."""

    def reorder(graph: Graph, order: NDArray[np.int64]) -> Graph:
        return replace(
            graph,
            operations=graph.operations[order],
            numbers=graph.numbers[order],
            edges=np.argsort(order)[graph.edges],
            live=graph.live[order],
        )

    return reorder
