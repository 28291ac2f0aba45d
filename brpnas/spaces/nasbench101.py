"""NAS-Bench-101: 423,624 cells of up to 7 vertices and 9 edges (Ying et al., ICML 2019)."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError, unknown_name
from brpnas.spaces._nasbench101_classes import OPTIONS, all_classes, labellings, representative
from brpnas.spaces._nasbench101_costs import (
    OFFICIAL_SHAPE,
    frame_costs,
    vertex_channels,
    vertex_costs,
)
from brpnas.spaces._nasbench101_matrix import (
    MOST_EDGES,
    MOST_VERTICES,
    bits_of,
    edges_of,
    fault,
    fingerprint,
    in_order,
    places,
    pruned,
    surviving,
)
from brpnas.spaces._nasbench101_network import ModuleNetwork
from brpnas.spaces.space import FiniteSpace, Graph, GraphSchema, NetworkShape

__all__ = ["Cell101", "NASBench101"]

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
_NUMBER = {name: number for number, name in enumerate(OPERATIONS)}
_TEXT = re.compile(r"([0-9]{1,7}):([0-2]{0,5})")
_CLASSES = 423_624


@dataclass(frozen=True, slots=True)
class Cell101:
    """A cell as it is written: a directed graph whose inner vertices are operations.

    Its text is the edge bits, a colon and the number of each inner vertex's operation: in
    ``39:01`` the input feeds a 3x3 convolution (0) and a 1x1 convolution (1), the first feeds the
    second, and that feeds the output.

    Attributes:
        edges: bit x + y(y - 1)/2 is the edge from vertex x to vertex y > x; vertex 0 is the
            input, the last one the output.
        operations: of the inner vertices, each ``conv3x3-bn-relu`` (0), ``conv1x1-bn-relu`` (1)
            or ``maxpool3x3`` (2).

    Raises:
        UserError: an unknown operation, more than 7 vertices, more than 9 edges that survive
            pruning, or no path from input to output.
    """

    edges: int
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        for operation in self.operations:
            if operation not in _NUMBER:
                raise unknown_name("operation", operation, OPERATIONS)
        wrong = fault(self.vertices, self.edges)
        if wrong:
            raise UserError(f"cell '{self.edges}:{self._digits}': {wrong}")

    def __str__(self) -> str:
        return f"{self.edges}:{self._digits}"

    @property
    def vertices(self) -> int:
        """How many vertices are written, input and output included."""
        return len(self.operations) + 2

    @property
    def labels(self) -> tuple[int, ...]:
        """The number of each inner vertex's operation."""
        return tuple([_NUMBER[operation] for operation in self.operations])

    @property
    def _digits(self) -> str:
        return "".join(str(_NUMBER[operation]) for operation in self.operations)

    @classmethod
    def from_matrix(cls, matrix: Sequence[Sequence[Any]], operations: Sequence[str]) -> Cell101:
        """Read what the benchmark stores as ``module_adjacency`` and ``module_operations``.

        Args:
            matrix: 1 at [x][y] for an edge from x to y, else 0; shape (vertices, vertices).
            operations: of all vertices; the first is ``input``, the last ``output``.

        Raises:
            UserError: the two do not fit together, an edge does not lead from a vertex to a later
                one, or as for the constructor.
        """
        size = len(operations)
        if [len(row) for row in matrix] != [size] * size:
            raise UserError(f"the matrix of {size} operations must have {size} rows and columns")
        if size < 2 or operations[0] != "input" or operations[-1] != "output":
            raise UserError("operations must begin with 'input' and end with 'output'")
        edges = []
        for source, row in enumerate(matrix):
            for target, entry in enumerate(row):
                if entry not in (0, 1) or (entry and source >= target):
                    raise UserError(
                        f"row {source}, column {target} of the matrix is {entry!r}: it must be 0 "
                        "or 1, and 0 up to the diagonal"
                    )
                edges += [(source, target)] if entry else []
        return cls(bits_of(edges), tuple(operations[1:-1]))


class NASBench101(FiniteSpace[Cell101]):
    """All NAS-Bench-101 cells, each class of isomorphic ones once.

    A cell may be written in many ways: vertices that are on no path from input to output are
    pruned, and the order of inner vertices is free. The space holds one writing of each of the
    423,624 classes that the official hash tells apart: the smallest edge bits, then operations.

    Graphs have one node for each vertex that is written, in the order of the matrix.

    Attributes:
        shape: of the published networks.
    """

    name = "nasbench101"
    shape = OFFICIAL_SHAPE
    schema = GraphSchema(
        space="nasbench101",
        operations=(*OPERATIONS, "input", "output"),
        numbers=("channels", "macs_m", "params_m"),
    )

    def __len__(self) -> int:
        return _CLASSES

    def __iter__(self) -> Iterator[Cell101]:
        """Yield each class's representative, by vertices, edge bits and operations."""
        classes = all_classes()
        names = [_operations(vertices) for vertices in range(MOST_VERTICES + 1)]
        for matrix, labels in zip(classes.matrix.tolist(), classes.labels.tolist(), strict=True):
            vertices, bits = classes.matrices[matrix]
            yield Cell101(bits, names[vertices][labels])

    def parse(self, text: str) -> Cell101:
        """Read a text such as ``1205349:02001``: ``edge_bits:ops`` in the benchmark's tables."""
        found = _TEXT.fullmatch(text.strip())
        if not found:
            raise UserError(
                f"malformed cell '{text[:200]}': expected edge bits, a colon and up to five "
                "operations of 0 (conv3x3-bn-relu), 1 (conv1x1-bn-relu) and 2 (maxpool3x3), "
                "such as 1205349:02001"
            )
        cell = Cell101(int(found[1]), tuple(OPERATIONS[int(digit)] for digit in found[2]))
        if str(cell) != text.strip():
            raise UserError(f"malformed cell '{text[:200]}': did you mean '{cell}'?")
        return cell

    def sample(self, n: int, rng: np.random.Generator) -> list[Cell101]:
        """Draw ``n`` different classes uniformly; raise UserError if there are fewer.

        Random matrices would favour classes that can be written in many ways; these are drawn
        from the enumeration.
        """
        if not 0 <= n <= len(self):
            raise UserError(f"asked for {n} networks; space '{self.name}' has {len(self)}")
        classes = all_classes()
        drawn = rng.choice(len(self), size=n, replace=False)
        cells = []
        for matrix, labels in zip(classes.matrix[drawn], classes.labels[drawn], strict=True):
            vertices, bits = classes.matrices[matrix]
            cells.append(Cell101(bits, _operations(vertices)[labels]))
        return cells

    def canonical(self, arch: Cell101) -> Cell101:
        """Return the smallest writing of the cell, by edge bits and then operations.

        Isomorphic cells count as one, as in the benchmark, although the order of the vertices
        decides which of them get one channel more where the output's do not divide.
        """
        kept, bits = pruned(arch.vertices, arch.edges)
        labels = arch.labels
        bits, labels = representative(
            len(kept), bits, tuple([labels[vertex - 1] for vertex in kept[1:-1]])
        )
        return Cell101(bits, tuple([OPERATIONS[label] for label in labels]))

    def deployed(self, arch: Cell101) -> Cell101:
        """Return the same as ``canonical``: official networks hold only what survives."""
        return self.canonical(arch)

    def fingerprint(self, arch: Cell101) -> str:
        """Return the benchmark's hash: 32 hexadecimal digits, equal for isomorphic cells."""
        kept, bits = pruned(arch.vertices, arch.edges)
        labels = arch.labels
        inner = [labels[vertex - 1] for vertex in kept[1:-1]]
        return fingerprint(len(kept), bits, [-1, *inner, -2])

    def macs(self, arch: Cell101) -> int:
        """Return the multiply-accumulates of the official network for one image of 32 x 32."""
        return self._cost(arch, 0)

    def params(self, arch: Cell101) -> int:
        """Return the trainable parameters of the official network, for 10 classes."""
        return self._cost(arch, 1)

    def _cost(self, arch: Cell101, which: int) -> int:
        drawing = _drawing(arch.vertices, arch.edges)
        vertices = range(arch.vertices)
        costs = drawing.costs[vertices, (0, *arch.labels, 0), which]
        return int(costs.sum() + _FRAME[which])

    def neighbours(self, arch: Cell101) -> list[Cell101]:
        """Return the canonical form of every cell that is one step away, each once.

        A step adds an edge that closes no circle, removes one, changes one operation or, below 7
        vertices, puts a new vertex with one edge in and one out anywhere; what it leaves without
        a path is pruned. The steps start from the canonical form.
        """
        here = self.canonical(arch)
        around = dict.fromkeys(map(self.canonical, _steps(here)))
        around.pop(here, None)
        return list(around)

    def mutate(self, arch: Cell101, rng: np.random.Generator) -> Cell101:
        """Return a neighbour, drawn uniformly."""
        around = self.neighbours(arch)
        return around[int(rng.integers(len(around)))]

    def graph(self, arch: Cell101) -> Graph:
        """Draw the cell as written, with its surviving vertices marked as live.

        ``channels`` are those in a cell of the first stack, ``macs_m`` and ``params_m`` those of
        the vertex over the whole official network, projections to it included; they are 0 for
        dead vertices, which official networks do not hold. Graphs share arrays.
        """
        drawing = _drawing(arch.vertices, arch.edges)
        written, options = _written(arch.operations)
        return Graph(
            schema=self.schema,
            operations=written,
            numbers=drawing.numbers[drawing.places, options],
            edges=drawing.edges,
            live=drawing.live,
        )

    def build(self, arch: Cell101, shape: NetworkShape | None = None) -> ModuleNetwork:
        """Make the network (128 channels, 3 cells per stage unless ``shape`` says otherwise).

        Raises:
            UserError: the shape has fewer channels than vertices that split them.
        """
        return ModuleNetwork(arch.edges, arch.labels, shape or self.shape)


_FRAME = frame_costs(OFFICIAL_SHAPE)


@dataclass(frozen=True, eq=False)
class _Drawing:
    """What the graphs of all cells with one matrix share.

    Attributes:
        edges: as in ``Graph``.
        live: as in ``Graph``.
        places: 0, 1, 2, ... for each vertex.
        costs: multiply-accumulates and parameters, shape (vertices, operations, 2).
        numbers: of each vertex under each operation, shape (vertices, operations, numbers).
    """

    edges: NDArray[np.int64]
    live: NDArray[np.bool_]
    places: NDArray[np.int64]
    costs: NDArray[np.int64]
    numbers: NDArray[np.float32]


@functools.lru_cache(maxsize=2**14)
def _drawing(vertices: int, bits: int) -> _Drawing:
    costs = vertex_costs(vertices, bits, OFFICIAL_SHAPE)
    width = OFFICIAL_SHAPE.channels
    channels = np.array(vertex_channels(vertices, bits, width, width))
    numbers = np.concatenate(
        [np.broadcast_to(channels[:, None, None], (vertices, OPTIONS, 1)), costs / 1e6], axis=2
    )
    return _Drawing(
        edges=np.array(edges_of(vertices, bits), dtype=np.int64).reshape(-1, 2),
        live=np.array(surviving(vertices, bits)),
        places=np.arange(vertices),
        costs=costs,
        numbers=numbers.astype(np.float32),
    )


@functools.cache
def _operations(vertices: int) -> list[tuple[str, ...]]:
    """The names of each of the labellings."""
    if vertices < 2:
        return []
    return [tuple(OPERATIONS[label] for label in labels) for labels in labellings(vertices)]


@functools.cache
def _written(operations: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Operation of each node in the schema, and the row of numbers that holds for it."""
    options = [_NUMBER[operation] for operation in operations]
    nodes = np.array([OPTIONS, *options, OPTIONS + 1])
    return nodes, np.array([0, *options, 0])


def _steps(cell: Cell101) -> Iterator[Cell101]:
    """Yield the cells one step from a pruned one, some of them in several writings."""
    vertices, operations = cell.vertices, cell.operations
    edges = edges_of(vertices, cell.edges)
    for edge in edges:
        if not fault(vertices, cell.edges ^ bits_of([edge])):
            yield Cell101(cell.edges ^ bits_of([edge]), operations)
    for inner in range(len(operations)):
        for name in OPERATIONS:
            yield Cell101(cell.edges, (*operations[:inner], name, *operations[inner + 1 :]))
    if len(edges) < MOST_EDGES:
        # Also against the order in which the vertices happen to be written.
        for edge in itertools.product(range(vertices - 1), range(1, vertices)):
            order = [] if edge in edges else in_order(vertices, [*edges, edge])
            if len(order) == vertices:
                yield _rewritten([*edges, edge], operations, order)
    if vertices < MOST_VERTICES and len(edges) + 2 <= MOST_EDGES:
        for source, target in places(vertices):
            grown = [*edges, (source, vertices), (vertices, target)]
            order = in_order(vertices + 1, grown)
            for name in OPERATIONS:
                # The new vertex is numbered behind the output for the time being.
                yield _rewritten(grown, (*operations, "", name), order)


def _rewritten(
    edges: Sequence[tuple[int, int]], operations: Sequence[str], order: Sequence[int]
) -> Cell101:
    """Write a cell with its vertices in another order; vertex v has ``operations[v - 1]``."""
    new = {vertex: number for number, vertex in enumerate(order)}
    bits = bits_of((new[source], new[target]) for source, target in edges)
    return Cell101(bits, tuple([operations[vertex - 1] for vertex in order[1:-1]]))
