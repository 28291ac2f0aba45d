"""What a NAS-Bench-201 cell computes, and the one form that all its equal writings share.

A node of the cell is a sum of *atoms*: the cell's input or the output of one convolution, each
passed through k average pools. Skip connections and pools are linear, so they only move atoms
(and pool(a + b) = pool(a) + pool(b)); an operation without a live input adds nothing; a
convolution makes a new atom with weights of its own. Two cells compute the same function, for
some pairing of their convolutions' weights, exactly when their sums agree after a renaming of
atoms, so the smallest description over all renamings identifies the function.

How it is computed decides what it costs. A runtime does not move pools through sums, so there
the output of a pool is an atom too: one that all pools of the same sum share. Only the last inner
node can be a sum of several atoms, and only one operation reads it, so nothing is added up twice:
the sums also tell the number of additions.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "EDGES",
    "OPERATIONS",
    "CellFunction",
    "cell_function",
    "deployed_form",
    "surviving",
]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source node, target node) of the six operations, in the order of the official string."""

_Sum = Counter[tuple[int, int]]
"""How often a sum holds each (atom, pools passed)."""

Terms = tuple[tuple[int, int, int], ...]
"""The same as a sorted tuple of (atom, pools passed, how often). Atom 0 is the cell's input."""


@dataclass(frozen=True)
class CellFunction:
    """Canonical description of what a cell computes.

    Attributes:
        made: for each live atom but the cell's input, the operation that makes it and what that
            reads, renamed so that the whole description is the smallest possible.
        output: the cell's output.
    """

    made: tuple[tuple[str, Terms], ...]
    output: Terms


def cell_function(operations: Sequence[str]) -> CellFunction:
    """Describe what the cell with these six operations (in the order of EDGES) computes."""
    return _smallest(*_sums(operations, linear_pools=True))


def deployed_form(operations: Sequence[str]) -> CellFunction:
    """Describe what a runtime computes for the cell, and how.

    As ``cell_function``, but a pool is work of its own, as a convolution is:
    pool(a) + pool(b) runs two pools, pool(a + b) one. Only pools of the same sum are one.
    """
    return _smallest(*_sums(operations, linear_pools=False))


def _sums(operations: Sequence[str], *, linear_pools: bool) -> tuple[list[tuple[str, _Sum]], _Sum]:
    """Return what makes atoms (operation and input; atom 1 is the first), and the output."""
    nodes: list[_Sum] = [Counter({(0, 0): 1})]
    made: list[tuple[str, _Sum]] = []
    for target in (1, 2, 3):
        node: _Sum = Counter()
        for (source, end), operation in zip(EDGES, operations, strict=True):
            terms = nodes[source] if end == target else None
            if not terms or operation == "none":
                continue
            if operation == "skip_connect":
                node.update(terms)
            elif operation == "avg_pool_3x3" and linear_pools:
                node.update({(atom, pools + 1): count for (atom, pools), count in terms.items()})
            else:
                work = (operation, terms)
                # A pool of the same sum is the same; a convolution has weights of its own.
                shared = operation == "avg_pool_3x3" and work in made
                if not shared:
                    made.append(work)
                node[made.index(work) + 1 if shared else len(made), 0] += 1
        nodes.append(node)
    return made, nodes[3]


def _smallest(made: list[tuple[str, _Sum]], output: _Sum) -> CellFunction:
    live: set[int] = set()
    pending = [atom for atom, _ in output if atom]
    while pending:
        atom = pending.pop()
        if atom not in live:
            live.add(atom)
            pending += [source for source, _ in made[atom - 1][1] if source]

    # What an atom holds, written out down to the cell's input: equal only where two atoms differ
    # in nothing but the weights behind them, so only those need to be tried in any order.
    written: dict[int, tuple[object, ...]] = {0: ()}
    for atom in sorted(live):  # an operation reads only atoms made before its own
        operation, terms = made[atom - 1]
        reads = sorted((repr(written[a]), pools, n) for (a, pools), n in terms.items())
        written[atom] = (operation, *reads)
    alike = [
        list(group) for _, group in itertools.groupby(
            sorted(live, key=lambda atom: repr(written[atom])), key=lambda atom: written[atom]
        )
    ]  # fmt: skip

    def describe(order: Iterable[Sequence[int]]) -> tuple[tuple[tuple[str, Terms], ...], Terms]:
        names = {atom: name for name, atom in enumerate((0, *itertools.chain(*order)))}

        def rename(terms: _Sum) -> Terms:
            return tuple(sorted((names[a], pools, n) for (a, pools), n in terms.items()))

        renamed = [(made[a - 1][0], rename(made[a - 1][1])) for a in names if a]
        return tuple(renamed), rename(output)

    orders = itertools.product(*(itertools.permutations(group) for group in alike))
    return CellFunction(*min(map(describe, orders)))


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
