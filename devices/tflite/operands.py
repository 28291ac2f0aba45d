"""What the functions that write torch's functions have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brpnas.devices.tflite.graph import Graph, Node, UnsupportedError

__all__ = ["Handler", "Pair", "Value", "axis_of", "image_shape", "numbers", "pair", "torch_shape"]

Value = Node | Tensor | float
Pair = int | Sequence[int]
"""One number for height and width, or one for each."""


def pair(value: Pair) -> tuple[int, int]:
    """Return (height, width)."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def numbers(value: Any, what: str) -> NDArray[np.float32]:  # noqa: ANN401 - checked here
    """Return the numbers of a tensor that does not depend on the input."""
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        kind = f"of type {value.dtype}" if isinstance(value, Tensor) else "made from the input"
        raise UnsupportedError(f"{what} {kind}; known are constants of type float32")
    found: NDArray[np.float32] = value.detach().cpu().numpy()
    return found


def image_shape(x: Node, what: str) -> tuple[int, int, int, int]:
    """Return (batch, height, width, channels) of an image; refuse others."""
    if len(x.shape) != 4:
        raise UnsupportedError(f"{what} of a tensor with {len(x.shape)} dimensions, not 4")
    n, h, w, c = x.shape
    return n, h, w, c


def axis_of(x: Node, dim: int) -> int:
    """Where an axis of torch's is in TFLite's order."""
    rank = len(x.shape)
    if not -rank <= dim < rank:
        raise UnsupportedError(f"axis {dim} of a tensor with {rank} dimensions")
    return (0, 3, 1, 2)[dim] if rank == 4 else dim % rank


def torch_shape(x: Node) -> tuple[int, ...]:
    """Return the shape in torch's order of axes."""
    return tuple(x.shape[i] for i in (0, 3, 1, 2)) if len(x.shape) == 4 else x.shape


class Handler(Protocol):
    """Writes a function; returns the node of its result, or a tensor if that is constant."""

    __name__: str

    def __call__(self, graph: Graph, *args: Any, **kwargs: Any) -> Node | Tensor:  # noqa: ANN401
        """Take the graph, then the arguments of torch's function."""
