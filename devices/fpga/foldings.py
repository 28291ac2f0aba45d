"""All ways to build one layer of a network: its foldings, and where its weights lie.

A row is a way. Weights lie in block RAM, in UltraRAM, or part of them stays in the board's memory
and streams in for every image (the reference's off-chip weights): of the rows of blocks, so many
are off chip; one row's depth of them is buffered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.layers import LAYERS, OPERATIONS, padded
from brpnas.devices.fpga.logic import count_logic
from brpnas.devices.fpga.memory import block_shape, memory_blocks, ultra_blocks
from brpnas.devices.fpga.network import Node

__all__ = [
    "RESOURCES",
    "Foldings",
    "Picked",
    "Rows",
    "Streams",
    "Ways",
    "Words",
    "foldings_of",
    "reloaded",
]

Array = NDArray[np.float64]
Rows = int | NDArray[np.intp]
T_co = TypeVar("T_co", covariant=True)

RESOURCES = ("DSP", "BRAM", "LUT", "FF", "URAM")
_STREAMED = (0.25, 0.5, 0.75, 1.0)
_LANES = ("coarse_in", "coarse_out", "coarse_group", "fine")


@dataclass(frozen=True)
class Words:
    """Bits of the numbers in a design.

    Attributes:
        data: of feature maps.
        weight: of weights.
        acc: of sums.
        block_floating_point: whether words share an exponent.
    """

    data: int = 16
    weight: int = 16
    acc: int = 30
    block_floating_point: bool = False


@dataclass(frozen=True)
class Streams(Generic[T_co]):
    """The words that enter and leave a layer, for one way to build it or several side by side.

    Attributes:
        words_in: that enter on each stream for one feature map.
        words_out: that leave on each.
        streams_in: how many words enter at a time.
        streams_out: how many leave at a time.
    """

    words_in: T_co
    words_out: T_co
    streams_in: T_co
    streams_out: T_co


@dataclass(frozen=True)
class Ways(Streams[T_co]):
    """What the time of a part depends on, of one way to build a layer or several side by side.

    Attributes:
        latency: cycles from one feature map to the next.
        depth: cycles until the first word leaves, as the reference counts them.
        delay: the same in cycles at the rate at which the layer takes words, as the reference
            divides the one by the other.
        fill: the part of it that is spent computing, whenever words arrive.
        window: share of a feature map that has to be there before the first word leaves.
    """

    latency: T_co
    depth: T_co
    delay: T_co
    fill: T_co
    window: T_co


Picked = Ways[Array | float]


@dataclass(frozen=True)
class Foldings(Ways[Array]):
    """The ways to build a layer, one row each: all arrays are of shape (rows,).

    Attributes:
        node: the layer.
        columns: the folding: ``coarse`` or ``coarse_in``, ``coarse_out``, ``coarse_group``,
            ``fine``; ``off_chip``, words of the weight memory that stream in, and ``uram``, 1
            where it is UltraRAM.
        resources: of shape (rows, 5), in the order of ``RESOURCES``.
        weight_bits: that stream in for every image.
    """

    node: Node
    columns: Mapping[str, Array]
    resources: Array
    weight_bits: Array

    def __len__(self) -> int:
        return len(self.latency)

    @property
    def whole(self) -> bool:
        """Whether the layer needs a whole feature map before its first word leaves."""
        return self.node.kind in ("inner_product", "global_pool")

    @cached_property
    def lanes(self) -> Array:
        """Products that are computed at a time, (rows,); 1 for layers without weights."""
        folds = [self.columns[name] for name in _LANES if name in self.columns]
        return np.prod(folds, axis=0) if folds else np.ones(len(self))

    def picked(self, rows: Rows) -> Picked:
        """Return one way, or several."""
        if not isinstance(rows, int):
            return Ways(*(getattr(self, name)[rows] for name in _TIMES))
        found = self._each.get(rows)
        if found is None:  # plain numbers, with which one way is quicker
            found = self._each[rows] = Ways(*(getattr(self, name)[rows].item() for name in _TIMES))
        return found

    @cached_property
    def _each(self) -> dict[int, Picked]:
        return {}

    @cached_property
    def ports_in(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The numbers of streams that may enter, and which of them each way has, (rows,)."""
        return np.unique(self.streams_in.astype(np.intp), return_inverse=True)

    @cached_property
    def ports_out(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The numbers of streams that may leave, and which of them each way has, (rows,)."""
        return np.unique(self.streams_out.astype(np.intp), return_inverse=True)

    def kept(self, rows: NDArray[np.bool_]) -> Foldings:
        """Return only some of the ways."""
        return replace(
            self,
            columns={name: values[rows] for name, values in self.columns.items()},
            **{name: getattr(self, name)[rows] for name in _ARRAYS},
        )

    def row(self, row: int) -> dict[str, int]:
        """Return one way as plain numbers."""
        return {name: int(values[row]) for name, values in self.columns.items()}


_TIMES = tuple(one.name for one in fields(Ways))
_ARRAYS = tuple(one.name for one in fields(Foldings) if one.name not in ("node", "columns"))


def foldings_of(
    node: Node, words: Words, reference_exact: bool = False, uram: bool = False
) -> Foldings:
    """Return all ways to build a layer.

    Args:
        node: the layer.
        words: bits of the design's numbers.
        reference_exact: count as the reference does where it is odd; see ``evaluate_layers``.
        uram: whether weights may lie in UltraRAM.
    """
    folding = _folding(node)
    rows = len(next(iter(folding.values())))
    x = {name: np.full(rows, value) for name, value in _sizes(node, words).items()} | folding
    layer = LAYERS[node.kind]
    costs = layer.cost(x, reference_exact)
    logic = count_logic(costs.modules, rows)
    streams_in, streams_out = _streams(node.kind, folding)
    words_in = _pixels(x) * x["channels"] / streams_in
    resources = np.stack([costs.dsp, costs.bram, logic["LUT"], logic["FF"], np.zeros(rows)], axis=1)
    fill, window = _fill(node.kind, x, costs.depth)
    found = Foldings(
        words_in=words_in,
        words_out=math.prod(node.output) / streams_out,
        streams_in=streams_in,
        streams_out=streams_out,
        latency=costs.latency,
        depth=costs.depth,
        delay=costs.depth * np.maximum(_working(node.kind, x, costs.latency) / words_in, 1.0),
        fill=fill,
        window=window,
        node=node,
        columns={**folding, "off_chip": np.zeros(rows), "uram": np.zeros(rows)},
        resources=resources,
        weight_bits=np.zeros(rows),
    )
    if not node.weights:
        return found
    return _with_memories(found, words, uram, reference_exact)


def reloaded(node: Node, times: int, follows: bool) -> Node:
    """Return a layer that computes one of ``times`` parts of a network's channels at a time.

    Args:
        node: the layer.
        times: how often weights are loaded for one batch.
        follows: whether it comes after the layer whose weights are loaded, which computes a part
            of its filters at a time: then its channels are fewer.
    """
    rows, cols, channels = node.output
    sizes = dict(node.sizes)
    name = "channels" if follows else "filters"
    sizes[name] //= times
    return replace(node, sizes=sizes, output=(rows, cols, channels // times))


def _divisors(number: int) -> list[int]:
    low = [i for i in range(1, math.isqrt(number) + 1) if number % i == 0]
    return sorted({*low, *(number // i for i in low)})


def _folding(node: Node) -> dict[str, Array]:
    """Return the valid foldings: a grid of divisors, each column of shape (rows,)."""
    sizes = node.sizes
    choices: dict[str, list[int]]
    if node.kind == "convolution":
        groups = sizes["groups"]
        choices = {
            "coarse_in": _divisors(sizes["channels"] // groups),
            "coarse_out": _divisors(sizes["filters"] // groups),
            "coarse_group": _divisors(groups),
            "fine": _divisors(sizes["kernel_rows"] * sizes["kernel_cols"]),
        }
    elif node.kind == "inner_product":
        choices = {
            "coarse_in": _divisors(sizes["channels"]),
            "coarse_out": _divisors(sizes["filters"]),
        }
    else:
        channels = sizes["channels"]
        if node.kind != "concat":
            # A split may hand on the first channels only; zeros may be before the others.
            channels = (channels, node.output[2], sizes.get("zeros_before", 0))
        common = math.gcd(*channels)
        choices = {"coarse": _divisors(common)}
    grid = np.meshgrid(*(np.array(values, dtype=np.float64) for values in choices.values()))
    return {name: values.ravel() for name, values in zip(choices, grid, strict=True)}


def _sizes(node: Node, words: Words) -> dict[str, float]:
    """Return the columns of one layer besides its folding."""
    sizes: dict[str, Any] = dict(node.sizes)
    if node.kind == "concat":
        sizes["common_channels"] = math.gcd(*sizes["channels"])
        sizes["channels"] = sum(sizes["channels"])
    if "op_type" in sizes:
        sizes["op_type"] = OPERATIONS[sizes["op_type"]]
    layer = LAYERS[node.kind]
    sizes |= {"data_width": words.data, "weight_width": words.weight, "acc_width": words.acc}
    # Queues of the inputs are counted for each by itself, where their lengths are known.
    sizes |= {"buffer_depth": 1, "block_floating_point": float(words.block_floating_point)}
    wanted = {*layer.inputs, *layer.optional, "common_channels"}
    return {name: float(value) for name, value in sizes.items() if name in wanted}


def _streams(kind: str, folding: Mapping[str, Array]) -> tuple[Array, Array]:
    if kind == "convolution":
        groups = folding["coarse_group"]
        return folding["coarse_in"] * groups, folding["coarse_out"] * groups
    if kind == "inner_product":
        return folding["coarse_in"], folding["coarse_out"]
    return folding["coarse"], folding["coarse"]


def _pixels(x: Mapping[str, Array]) -> Array:
    return x["rows"] * x["cols"]


def _working(kind: str, x: Mapping[str, Array], latency: Array) -> Array:
    """Return the cycles that a layer takes in words for."""
    if kind == "inner_product":  # its latency may be that of a module behind the sums
        return _pixels(x) * x["channels"] / x["coarse_in"] * x["filters"] / x["coarse_out"]
    return latency


def _fill(kind: str, x: Mapping[str, Array], depth: Array) -> tuple[Array, Array]:
    """Return the cycles of computing in a depth, and the share of a feature map that it waits for.

    The reference counts words of a window, and sums of an inner product, as cycles of the depth.
    """
    ones = np.ones_like(depth)
    if kind == "inner_product":
        return ones + x["coarse_in"], ones
    if kind == "global_pool":
        return ones, ones
    if "kernel_rows" not in x:
        return depth, 0 * ones
    streams = x["coarse_in"] * x["coarse_group"] if "fine" in x else x["coarse"]
    window = (x["kernel_rows"] - 1) * padded(x, "cols") + x["kernel_cols"] - 1
    share = window / (padded(x, "rows") * padded(x, "cols"))
    return depth - window * x["channels"] / streams, share


def _with_memories(plain: Foldings, words: Words, uram: bool, exact: bool) -> Foldings:
    """Add the ways in which not all weights lie in block RAM.

    Each pass over the weights, one for every position of the kernel, brings those that are off chip
    in. The reference counts them as brought in while those on chip are used, which is too much.
    """
    x = plain.columns
    width = words.weight * plain.lanes
    depth = plain.node.weights / plain.lanes
    blocks = memory_blocks(depth, width)
    across, unit = block_shape(width)
    rows = np.ceil(depth / unit)
    ways = [plain]
    done = np.zeros(len(plain))
    for share in _STREAMED:
        off_rows = np.where(blocks > 0, np.ceil(share * rows), 0)
        # As many blocks as a row hold the buffer: the first row brings nothing.
        useful = (off_rows > 1) & (off_rows > done)
        done = np.where(useful, off_rows, done)
        off = np.minimum(depth, off_rows * unit)
        per_cycle = off * width / (depth - off + unit if exact else depth)
        resources = plain.resources.copy()
        resources[:, 1] += across * (1 - off_rows)
        ways.append(
            replace(
                plain,
                columns={**x, "off_chip": off},
                resources=resources,
                weight_bits=per_cycle * plain.latency,
            ).kept(useful)
        )
    if uram:
        resources = plain.resources.copy()
        resources[:, 1] -= blocks
        resources[:, 4] = ultra_blocks(depth, width)
        ways.append(
            replace(plain, columns={**x, "uram": np.ones(len(plain))}, resources=resources).kept(
                blocks > 0
            )
        )
    return _joined(ways)


def _joined(ways: list[Foldings]) -> Foldings:
    columns = {
        name: np.concatenate([way.columns[name] for way in ways]) for name in ways[0].columns
    }
    arrays: Any = {name: np.concatenate([getattr(way, name) for way in ways]) for name in _ARRAYS}
    return replace(ways[0], columns=columns, **arrays)
