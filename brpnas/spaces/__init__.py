"""What can be chosen: spaces of networks, their architectures and graphs."""

from brpnas.spaces.nasbench201 import Cell, NASBench201
from brpnas.spaces.space import (
    Architecture,
    CategoricalSpace,
    Graph,
    GraphSchema,
    NetworkShape,
    Space,
)

__all__ = [
    "Architecture",
    "CategoricalSpace",
    "Cell",
    "Graph",
    "GraphSchema",
    "NASBench201",
    "NetworkShape",
    "Space",
]
