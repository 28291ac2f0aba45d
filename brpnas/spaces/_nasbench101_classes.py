"""All NAS-Bench-101 cells up to isomorphism, found by renumbering inner vertices.

The representative of a class has the smallest edge bits and then the smallest operation numbers
of all its writings: it is the one that the benchmark's own enumeration meets first. A few
thousand matrices make all pruned cells, so the renumberings of each are kept and no graph is
ever hashed.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brpnas.spaces._nasbench101_matrix import MOST_EDGES, MOST_VERTICES, places

__all__ = ["OPTIONS", "Classes", "all_classes", "labellings", "representative"]

OPTIONS = 3
"""Operations that an inner vertex can have."""

Labels = tuple[int, ...]
"""Operation number of each inner vertex."""


@dataclass(frozen=True)
class Classes:
    """Every class once, ordered by vertices, edge bits and operation numbers.

    Attributes:
        matrices: (vertices, edge bits) of each matrix that representatives have.
        matrix: place in ``matrices`` of each class's matrix, shape (classes,).
        labels: place in ``labellings`` of each class's operations, shape (classes,).
    """

    matrices: list[tuple[int, int]]
    matrix: NDArray[np.int16]
    labels: NDArray[np.uint8]


@functools.cache
def labellings(vertices: int) -> tuple[Labels, ...]:
    """Return all operation numbers that the inner vertices can have, in ascending order."""
    return tuple(itertools.product(range(OPTIONS), repeat=vertices - 2))


def representative(vertices: int, bits: int, labels: Labels) -> tuple[int, Labels]:
    """Return edge bits and operation numbers that stand for a pruned cell's class."""
    smallest, orders = _renumberings()[vertices, bits]
    return smallest, min(tuple([labels[inner] for inner in order]) for order in orders)


@functools.cache
def all_classes() -> Classes:
    """Enumerate the representatives of all classes."""
    matrices: list[tuple[int, int]] = []
    matrix, labels = [], []
    for (vertices, bits), (smallest, orders) in sorted(_renumberings().items()):
        if bits != smallest:
            continue
        digits = np.array(labellings(vertices), dtype=np.int64)  # (labellings, inner vertices)
        weights = OPTIONS ** np.arange(vertices - 2)[::-1]
        # Renumberings that keep the matrix decide which labellings are the same cell.
        codes = np.stack([digits[:, list(order)] @ weights for order in orders])
        chosen = np.flatnonzero(codes.min(axis=0) == np.arange(len(digits)))
        matrix.append(np.full(len(chosen), len(matrices), np.int16))
        labels.append(chosen.astype(np.uint8))
        matrices.append((vertices, bits))
    return Classes(matrices, np.concatenate(matrix), np.concatenate(labels))


@functools.cache
def _renumberings() -> dict[tuple[int, int], tuple[int, tuple[Labels, ...]]]:
    """The smallest writing of every pruned matrix, and the orders of inner vertices that give it.

    Keys are (vertices, edge bits); in an order, inner vertices count from 0, and the vertex
    ``order[i]`` becomes the i-th.
    """
    found = {}
    for vertices in range(2, MOST_VERTICES + 1):
        matrices = _pruned_matrices(vertices)
        orders = list(itertools.permutations(range(vertices - 2)))
        images = np.stack([_renumbered(matrices, vertices, order) for order in orders])
        smallest = images.min(axis=0)
        for column, bits in enumerate(matrices.tolist()):
            equal = np.flatnonzero(images[:, column] == smallest[column])
            found[vertices, bits] = (int(smallest[column]), tuple(orders[i] for i in equal))
    return found


def _pruned_matrices(vertices: int) -> NDArray[np.int32]:
    """Return the bits of all matrices without a dead vertex or too many edges."""
    bits = np.arange(1 << len(places(vertices)), dtype=np.int32)
    fine = np.bitwise_count(bits) <= MOST_EDGES
    # Edges lead upwards, so each vertex is on a path if each has an edge in and an edge out.
    for side, others in ((0, range(vertices - 1)), (1, range(1, vertices))):
        for vertex in others:
            touching = [i for i, edge in enumerate(places(vertices)) if edge[side] == vertex]
            fine &= (bits & sum(1 << i for i in touching)) != 0
    return bits[fine]


def _renumbered(
    matrices: NDArray[np.int32], vertices: int, order: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return matrices with inner vertices in another order; huge where an edge leads backwards."""
    new = [0] * vertices
    new[-1] = vertices - 1
    for number, inner in enumerate(order, start=1):
        new[inner + 1] = number
    images = np.zeros(len(matrices), np.int64)
    for place, (source, target) in enumerate(places(vertices)):
        start, end = new[source], new[target]
        moved = start + end * (end - 1) // 2 if start < end else 62
        images |= (matrices.astype(np.int64) >> place & 1) << moved
    return images
