"""Channels, parameters and multiply-accumulates of NAS-Bench-101's networks.

As in Ying et al., ICML 2019, section 2 and supplement S2: the vertices that feed the output split
its channels, one more for the first where they do not divide; any other vertex has as many as the
largest that it feeds; edges from the cell's input are 1x1 convolutions to the channels of their
target. Each convolution has a batch-norm, whose scale and offset count as parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from brpnas.spaces._nasbench101_matrix import edges_of, surviving
from brpnas.spaces.space import NetworkShape

__all__ = ["KERNELS", "OFFICIAL_SHAPE", "cell_widths", "frame_costs", "live_edges"]
__all__ += ["vertex_channels", "vertex_costs"]

OFFICIAL_SHAPE = NetworkShape(channels=128, cells_per_stage=3)
KERNELS = (3, 1, 0)
"""Kernel of each operation: convolutions of 3x3 and 1x1, and max-pool, which has no weights."""


def cell_widths(shape: NetworkShape) -> Iterator[tuple[int, int, int]]:
    """Yield input channels, output channels and height of each cell; pools halve the height."""
    width, size = shape.channels, shape.input_size
    for stage in range(3):
        for cell in range(shape.cells_per_stage):
            yield (width // 2 if stage and not cell else width), width, size
        width, size = 2 * width, -(-size // 2)


def live_edges(vertices: int, bits: int) -> list[tuple[int, int]]:
    """Return the edges between vertices that survive pruning."""
    live = surviving(vertices, bits)
    return [(s, t) for s, t in edges_of(vertices, bits) if live[s] and live[t]]


def vertex_channels(vertices: int, bits: int, inputs: int, outputs: int) -> list[int]:
    """Return the channels of each vertex, 0 for dead ones.

    Args:
        vertices: of the matrix.
        bits: of the matrix.
        inputs: channels of the cell's input.
        outputs: channels of its output.
    """
    edges = live_edges(vertices, bits)
    last = vertices - 1
    channels = [inputs, *[0] * (vertices - 2), outputs]
    feeding = [source for source, target in edges if target == last and source != 0]
    for place, vertex in enumerate(feeding):
        channels[vertex] = outputs // len(feeding) + (place < outputs % len(feeding))
    for source, target in sorted(edges, reverse=True):  # targets are settled before their sources
        if source not in (0, *feeding):
            channels[source] = max(channels[source], channels[target])
    return channels


def vertex_costs(vertices: int, bits: int, shape: NetworkShape) -> NDArray[np.int64]:
    """Return what each vertex costs over the whole network, projections to it included.

    Returns:
        Multiply-accumulates and parameters under each operation, shape (vertices, operations, 2);
        those of input and output are the same under all.
    """
    costs = np.zeros((vertices, len(KERNELS), 2), np.int64)
    edges = live_edges(vertices, bits)
    inner = {target for _, target in edges} - {vertices - 1}
    for inputs, outputs, size in cell_widths(shape):
        channels = vertex_channels(vertices, bits, inputs, outputs)
        for source, target in edges:
            if source == 0:
                costs[target] += _convolution(inputs, channels[target], 1, size)
        for vertex in inner:
            for option, kernel in enumerate(KERNELS):
                width = channels[vertex]
                costs[vertex, option] += _convolution(width, width, kernel, size)
    return costs


def frame_costs(shape: NetworkShape) -> NDArray[np.int64]:
    """Return multiply-accumulates and parameters of stem and classifier, shape (2,)."""
    macs, params = _convolution(shape.input_channels, shape.channels, 3, shape.input_size)
    weights = 4 * shape.channels * shape.classes
    return np.array([macs + weights, params + weights + shape.classes], np.int64)


def _convolution(inputs: int, outputs: int, kernel: int, size: int) -> NDArray[np.int64]:
    """Multiply-accumulates and parameters of a convolution with batch-norm; none for kernel 0."""
    weights = inputs * outputs * kernel**2
    return np.array([weights * size**2, weights + 2 * outputs * bool(kernel)], np.int64)
