"""What the bits of a NAS-Bench-101 matrix say: edges, what survives pruning, the official hash.

Bit x + y(y - 1)/2 is the edge from vertex x to vertex y > x, as in the benchmark's own
enumeration (Ying et al., "NAS-Bench-101: Towards reproducible neural architecture search", ICML
2019). Vertex 0 is the cell's input, the last one its output.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence

__all__ = [
    "MOST_EDGES",
    "MOST_VERTICES",
    "bits_of",
    "edges_of",
    "fault",
    "fingerprint",
    "in_order",
    "places",
    "pruned",
    "surviving",
]

MOST_VERTICES = 7
MOST_EDGES = 9

Edges = tuple[tuple[int, int], ...]
"""(source, target) of each edge."""


@functools.cache
def places(vertices: int) -> Edges:
    """Return the edges that a matrix of so many vertices can have, in the order of its bits."""
    return tuple((source, target) for target in range(vertices) for source in range(target))


def bits_of(edges: Iterable[tuple[int, int]]) -> int:
    """Return the bits of a matrix with these edges, each given once."""
    return sum(1 << (source + target * (target - 1) // 2) for source, target in edges)


# Cells share matrices: all 423,624 of them have 2,494.
@functools.lru_cache(maxsize=2**14)
def edges_of(vertices: int, bits: int) -> Edges:
    """Return the edges of a matrix, in the order of its bits."""
    return tuple(edge for place, edge in enumerate(places(vertices)) if bits >> place & 1)


@functools.lru_cache(maxsize=2**14)
def surviving(vertices: int, bits: int) -> tuple[bool, ...]:
    """Tell which vertices lie on a path from input to output, none if there is no path."""
    edges = edges_of(vertices, bits)
    reached, useful = {0}, {vertices - 1}
    for source, target in edges:  # by ascending target
        if source in reached:
            reached.add(target)
    for source, target in sorted(edges, reverse=True):  # by descending source
        if target in useful:
            useful.add(source)
    return tuple(vertex in reached & useful for vertex in range(vertices))


@functools.lru_cache(maxsize=2**14)
def pruned(vertices: int, bits: int) -> tuple[tuple[int, ...], int]:
    """Return the vertices that survive and the bits of the matrix between them, renumbered."""
    kept = tuple(vertex for vertex, live in enumerate(surviving(vertices, bits)) if live)
    new = {vertex: number for number, vertex in enumerate(kept)}
    edges = edges_of(vertices, bits)
    return kept, bits_of((new[s], new[t]) for s, t in edges if s in new and t in new)


@functools.lru_cache(maxsize=2**14)
def fault(vertices: int, bits: int) -> str:
    """Say why a matrix makes no cell; empty if it makes one. Limits hold for what survives."""
    if not 2 <= vertices <= MOST_VERTICES:
        return f"{vertices} vertices; there are 2 to {MOST_VERTICES}, input and output included"
    if not 0 <= bits < 1 << len(places(vertices)):
        return f"edge bits {bits} do not fit the {len(places(vertices))} of {vertices} vertices"
    kept, bits = pruned(vertices, bits)
    if not kept:
        return "no path from input to output"
    if bits.bit_count() > MOST_EDGES:
        return f"{bits.bit_count()} edges survive pruning; {MOST_EDGES} are allowed"
    return ""


def in_order(vertices: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the vertices so that all edges lead upwards; without those on and behind a circle."""
    into = {vertex: {s for s, t in edges if t == vertex} for vertex in range(vertices)}
    order: list[int] = []
    while free := [vertex for vertex in into if into[vertex] <= set(order)]:
        order += free
        for vertex in free:
            del into[vertex]
    return order


def fingerprint(vertices: int, bits: int, labels: Sequence[int]) -> str:
    """Return the official hash of a pruned cell, equal for isomorphic ones.

    Each vertex starts from the digest of (edges out, edges in, label) and takes in, as often as
    there are vertices, the sorted digests of those that feed it and of those that it feeds; the
    hash is the digest of all of them, sorted.

    Args:
        vertices: of the matrix.
        bits: of the matrix.
        labels: of all vertices: -1 the input, -2 the output, else the operation's number.
    """
    into: list[list[int]] = [[] for _ in range(vertices)]
    out: list[list[int]] = [[] for _ in range(vertices)]
    for source, target in edges_of(vertices, bits):
        out[source].append(target)
        into[target].append(source)
    state = [
        _md5(str((len(out[vertex]), len(into[vertex]), labels[vertex])))
        for vertex in range(vertices)
    ]
    for _ in range(vertices):
        around = [
            ["".join(sorted(state[other] for other in side[vertex])) for side in (into, out)]
            for vertex in range(vertices)
        ]
        state = [_md5("|".join((*near, own))) for near, own in zip(around, state, strict=True)]
    return _md5(str(sorted(state)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
