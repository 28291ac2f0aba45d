"""What can be chosen: spaces of networks, their architectures and graphs."""

from brpnas.spaces.lowrank import LowRankNetwork, LowRankSpace
from brpnas.spaces.nasbench101 import Cell101, NASBench101
from brpnas.spaces.nasbench201 import Cell, NASBench201
from brpnas.spaces.space import (
    Architecture,
    CategoricalSpace,
    FiniteSpace,
    Graph,
    GraphSchema,
    NetworkShape,
    Space,
)

__all__ = [
    "Architecture",
    "CategoricalSpace",
    "Cell",
    "Cell101",
    "FiniteSpace",
    "Graph",
    "GraphSchema",
    "LowRankNetwork",
    "LowRankSpace",
    "NASBench101",
    "NASBench201",
    "NetworkShape",
    "Space",
]
