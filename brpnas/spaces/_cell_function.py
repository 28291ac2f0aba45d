"""The function that a NAS-Bench-201 cell computes, and the one form that all its writings share.

A node of the cell is a sum of *atoms*: the cell's input or the output of one convolution, each
passed through k average pools. Skip connections and pools are linear, so they only move atoms
(and pool(a + b) = pool(a) + pool(b)); an operation without a live input adds nothing; a
convolution makes a new atom with weights of its own. Two cells compute the same function, for
some pairing of their convolutions' weights, exactly when their sums agree after a renaming of
atoms, so the smallest description over all renamings identifies the function.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["EDGES", "OPERATIONS", "CellFunction", "cell_function", "surviving"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source node, target node) of the six operations, in the order of the official string."""

# A sum of atoms: ((atom, pools passed, how often), ...), sorted. Atom 0 is the cell's input.
Terms = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, order=True)
class CellFunction:
    """Canonical description of what a cell computes.

    Attributes:
        convolutions: for each live convolution its operation and its input, renamed so that the
            whole description is the smallest possible.
        output: the cell's output.
    """

    convolutions: tuple[tuple[str, Terms], ...]
    output: Terms


def cell_function(operations: Sequence[str]) -> CellFunction:
    """Describe what the cell with these six operations (in the order of EDGES) computes."""
    nodes: list[Counter[tuple[int, int]]] = [Counter({(0, 0): 1})]
    convolutions: list[tuple[str, Counter[tuple[int, int]]]] = []
    for target in (1, 2, 3):
        node: Counter[tuple[int, int]] = Counter()
        for (source, end), operation in zip(EDGES, operations, strict=True):
            terms = nodes[source] if end == target else None
            if not terms or operation == "none":
                continue
            if operation == "skip_connect":
                node.update(terms)
            elif operation == "avg_pool_3x3":
                node.update({(atom, pools + 1): count for (atom, pools), count in terms.items()})
            else:
                convolutions.append((operation, terms))
                node[len(convolutions), 0] += 1
        nodes.append(node)
    return _smallest(convolutions, nodes[3])


def _smallest(
    convolutions: list[tuple[str, Counter[tuple[int, int]]]], output: Counter[tuple[int, int]]
) -> CellFunction:
    live: set[int] = set()
    pending = [atom for atom, _ in output if atom]
    while pending:
        atom = pending.pop()
        if atom not in live:
            live.add(atom)
            pending += [source for source, _ in convolutions[atom - 1][1] if source]

    def describe(names: dict[int, int]) -> CellFunction:
        def rename(terms: Counter[tuple[int, int]]) -> Terms:
            return tuple(sorted((names[a], pools, n) for (a, pools), n in terms.items()))

        ordered = sorted(live, key=names.__getitem__)
        return CellFunction(
            tuple((convolutions[a - 1][0], rename(convolutions[a - 1][1])) for a in ordered),
            rename(output),
        )

    # At most six convolutions live, and six only without a chain: 720 renamings at the worst.
    return min(
        describe({0: 0, **dict(zip(sorted(live), names, strict=True))})
        for names in itertools.permutations(range(1, len(live) + 1))
    )


def surviving(operations: Sequence[str]) -> tuple[bool, ...]:
    """Tell for each of the six operations whether it lies on a path from input to output."""
    used = [operation != "none" for operation in operations]
    reached = {0}
    for (source, target), on in zip(EDGES, used, strict=True):  # EDGES is sorted by target
        if on and source in reached:
            reached.add(target)
    needed = {3}
    for (source, target), on in reversed(list(zip(EDGES, used, strict=True))):
        if on and target in needed:
            needed.add(source)
    return tuple(
        on and source in reached and target in needed
        for (source, target), on in zip(EDGES, used, strict=True)
    )
