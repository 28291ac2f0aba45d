"""NAS-Bench-201: 15,625 cells of six operations (Dong & Yang, ICLR 2020)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError, unknown_name
from brpnas.spaces._cell_function import (
    EDGES,
    OPERATIONS,
    CellFunction,
    cell_function,
    deployed_form,
    surviving,
)
from brpnas.spaces._cell_network import CellNetwork
from brpnas.spaces.space import CategoricalSpace, Graph, GraphSchema, NetworkShape

__all__ = ["Cell", "NASBench201"]

_TERM = re.compile(r"([^|~]+)~([0-2])")
_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


@dataclass(frozen=True)
class Cell:
    """A cell as it is written.

    Attributes:
        operations: one operation for each pair of nodes (0,1), (0,2), (1,2), (0,3), (1,3), (2,3).
    """

    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.operations) != len(EDGES):
            raise UserError(f"a cell has {len(EDGES)} operations, not {len(self.operations)}")
        for operation in self.operations:
            if operation not in OPERATIONS:
                raise unknown_name("operation", operation, OPERATIONS)

    def __str__(self) -> str:
        terms = [
            f"{name}~{source}" for name, (source, _) in zip(self.operations, EDGES, strict=True)
        ]
        return "+".join(f"|{'|'.join(group)}|" for group in (terms[:1], terms[1:3], terms[3:]))


class NASBench201(CategoricalSpace[Cell]):
    """All NAS-Bench-201 cells.

    Graphs have eight nodes: the cell's input, its six operations in the order of the string, its
    output. An edge leads from each operation to those that read the node it writes.

    Attributes:
        shape: of the published networks.
    """

    name = "nasbench201"
    shape = NetworkShape()
    schema = GraphSchema(
        space="nasbench201",
        operations=(*OPERATIONS, "input", "output"),
        numbers=("source_node", "target_node", "macs_m", "params_m"),
    )
    choices = (len(OPERATIONS),) * len(EDGES)

    def parse(self, text: str) -> Cell:
        """Read an official string such as ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``."""
        groups = text.strip().split("+")
        operations: list[str] = []
        for length, group in enumerate(groups, start=1):
            terms = [_TERM.fullmatch(term) for term in group.strip("|").split("|")]
            sources = [int(term[2]) if term else -1 for term in terms]
            if len(groups) != 3 or sources != list(range(length)):
                raise UserError(f"malformed cell '{text[:200]}': expected the form {_FORM}")
            operations += [term[1] for term in terms if term]
        cell = Cell(tuple(operations))
        if str(cell) != text.strip():  # a bar too many or too few
            raise UserError(f"malformed cell '{text[:200]}': did you mean '{cell}'?")
        return cell

    def encode(self, arch: Cell) -> tuple[int, ...]:
        """Return the index into OPERATIONS of each of the six operations."""
        return tuple(OPERATIONS.index(operation) for operation in arch.operations)

    def decode(self, options: Sequence[int]) -> Cell:
        """Return the cell with these indices into OPERATIONS."""
        return Cell(tuple(OPERATIONS[option] for option in options))

    def canonical(self, arch: Cell) -> Cell:
        """Return the cheapest cell that computes the same function, first by text among equals.

        There are 5,044 such cells. The equivalences are all that hold for arbitrary weights:
        dead operations, skip connections, renamed inner nodes, and the linearity of pooling.
        Batch-norms have given statistics here; while each normalises by its own batch, a
        convolution of 2x would also equal one of x, but for their epsilon.
        """
        return _representatives(cell_function)[cell_function(arch.operations)]

    def deployed(self, arch: Cell) -> Cell:
        """Return the cheapest cell that a runtime runs alike, first by text among equals.

        There are 5,260 such cells. Dead operations are gone, skip connections and the order of
        additions make no difference, average pools of the same tensor run once. Unlike in
        ``canonical``, pool(a) + pool(b) is more work than pool(a + b).
        """
        return _representatives(deployed_form)[deployed_form(arch.operations)]

    def graph(self, arch: Cell) -> Graph:
        """Draw the cell as written, with its surviving operations marked as live."""
        options = self.encode(arch)
        live = surviving(arch.operations)
        ends = any(live)
        return Graph(
            schema=self.schema,
            operations=np.array([_INPUT, *options, _OUTPUT]),
            numbers=_node_numbers()[_PLACES, [0, *options, 0]],
            edges=_GRAPH_EDGES,
            live=np.array([ends, *live, ends]),
        )

    def build(self, arch: Cell, shape: NetworkShape | None = None) -> CellNetwork:
        """Make the network of the written cell (official size unless ``shape`` says otherwise)."""
        return CellNetwork(arch.operations, shape or self.shape)


_INPUT, _OUTPUT = len(OPERATIONS), len(OPERATIONS) + 1
_PLACES = np.arange(len(EDGES) + 2)


def _graph_edges() -> NDArray[np.int64]:
    """Edges between the nodes of a graph: node e + 1 is the operation on EDGES[e]."""
    ends = [(-1, 0), *EDGES, (3, 4)]  # the input writes cell node 0, the output reads cell node 3
    return np.array(
        [(a, b) for a, (_, t) in enumerate(ends) for b, (s, _) in enumerate(ends) if t == s]
    )


_GRAPH_EDGES = _graph_edges()


@functools.cache
def _node_numbers() -> NDArray[np.float32]:
    """Numbers of every operation at every place, shape (places, operations, numbers)."""
    shape = NetworkShape()
    macs = {"nor_conv_1x1": 0.0, "nor_conv_3x3": 0.0}
    params = dict(macs)
    for stage in range(3):
        channels, size = shape.channels * 2**stage, shape.input_size // 2**stage
        for name, kernel in (("nor_conv_1x1", 1), ("nor_conv_3x3", 3)):
            weights = channels**2 * kernel**2 * shape.cells_per_stage / 1e6
            macs[name] += weights * size**2
            params[name] += weights + 2 * channels * shape.cells_per_stage / 1e6  # batch-norm
    numbers = np.zeros((len(_PLACES), len(OPERATIONS), 4), np.float32)
    for place, (source, target) in enumerate(EDGES, start=1):
        for index, name in enumerate(OPERATIONS):
            numbers[place, index] = source, target, macs.get(name, 0), params.get(name, 0)
    numbers[-1, :, :2] = 3, 4
    return numbers


@functools.cache
def _representatives(
    describe: Callable[[Sequence[str]], CellFunction],
) -> dict[CellFunction, Cell]:
    """The cell that stands for each description."""
    chosen: dict[CellFunction, Cell] = {}
    # Cheapest first, so the first cell of a description stands for it.
    for cell in sorted(NASBench201(), key=_cost):
        chosen.setdefault(describe(cell.operations), cell)
    return chosen


def _cost(cell: Cell) -> tuple[int, int, int, int, str]:
    count = cell.operations.count
    return (
        count("nor_conv_3x3"),
        count("nor_conv_1x1"),
        count("avg_pool_3x3"),
        count("skip_connect"),
        str(cell),
    )
