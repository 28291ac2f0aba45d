"""The LR-space of one layer: which low-rank pairs may take its place, and what each costs.

A convolution W[O, C, Kh, Kw] becomes two convolutions, one after the other, whose weights come
from a truncated singular value decomposition of an unfolding of W (Yu and Bouganis 2023, SVD-NAS).
With P output positions, Q input positions and R rows x output columns, rank r costs

    family      unfolding                   multiply-accumulates           parameters
    separable   (O Kh) x (C Kw)             r (R C Kw + P O Kh)            r (C Kw + O Kh)
    input:gN    N times O x (C/N Kh Kw)     r N (P C/N Kh Kw + P O)        r N (C/N Kh Kw + O)
    output:gN   N times (O/N Kh Kw) x C     r N (Q C + P O/N Kh Kw)        r N (C + O/N Kh Kw)
    plain       O x C (1x1, linear)         r (P C + P O)                  r (C + O)
    rows:gN     N times O/N x C (linear)    r (P C + P O/N)                r (C + O/N)

The rank of ``rows`` is that of its N parts together, such as the queries, keys and values that one
linear layer makes: each part gets the share that its singular values deserve.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.lowrank.shapes import LayerShape

__all__ = [
    "DENSE",
    "KINDS",
    "Choice",
    "Pair",
    "Scheme",
    "check_choice",
    "greatest_rank",
    "schemes_for",
]

Counts = NDArray[np.int64]
_GROUPED = ("input", "output", "rows")
KINDS = ("separable", "input", "grouped input", "output", "grouped output", "plain", "rows")
"""Of schemes: see `Scheme.kind`."""
_PAIR = re.compile(
    r"(?:(separable|plain)|(input|output|rows):g([1-9]\d{0,8})):r([1-9]\d{0,8})", re.ASCII
)


@dataclass(frozen=True, order=True)
class Scheme:
    """A way to unfold a layer's weights, of which every rank is a pair of layers.

    Attributes:
        family: ``separable``, ``input``, ``output``, ``plain`` or ``rows``.
        groups: matrices that the weights are unfolded into.
    """

    family: str
    groups: int = 1

    def __post_init__(self) -> None:
        if self.family not in _COSTS:
            raise UserError(f"unknown family '{self.family}'; families: {', '.join(_COSTS)}")
        if self.groups < 1 or (self.groups > 1 and self.family not in _GROUPED):
            raise UserError(f"{self.family} cannot have {self.groups} groups")

    def __str__(self) -> str:
        return f"{self.family}:g{self.groups}" if self.family in _GROUPED else self.family

    @property
    def kind(self) -> str:
        """One of `KINDS`: the family, and whether a convolution of the pair has groups.

        Pairs of one kind take about as long as they have multiply-accumulates; of two kinds with
        as many, one may take several times as long.
        """
        grouped = self.groups > 1 and self.family in ("input", "output")
        return f"grouped {self.family}" if grouped else self.family

    def ranks(self, layer: LayerShape) -> Counts:
        """Return all ranks that a layer has in this scheme, from the least to the greatest."""
        return np.arange(_least_rank(self), greatest_rank(layer, self) + 1)

    def macs(self, layer: LayerShape, ranks: Counts | int) -> Counts:
        """Return the multiply-accumulates of pairs of these ranks, in the ranks' shape."""
        return np.asarray(ranks, dtype=np.int64) * _COSTS[self.family](layer, self.groups)[0]

    def first_macs(self, layer: LayerShape, rank: int) -> int:
        """Return the multiply-accumulates of the first of a pair's two layers."""
        (height, width), positions = layer.kernel, layer.positions
        if self.family == "separable":
            return rank * positions.rows * layer.inputs * width
        if self.family == "output":
            return rank * positions.inputs * self.groups * layer.inputs
        return rank * positions.outputs * layer.inputs * height * width

    def params(self, layer: LayerShape, ranks: Counts | int) -> Counts:
        """Return the weights, without a bias, of pairs of these ranks, in the ranks' shape."""
        return np.asarray(ranks, dtype=np.int64) * _COSTS[self.family](layer, self.groups)[1]


@dataclass(frozen=True, order=True)
class Pair:
    """Two layers in the place of one: ``str(pair)`` is its text, such as ``input:g4:r8``."""

    scheme: Scheme
    rank: int

    def __post_init__(self) -> None:
        if self.rank < _least_rank(self.scheme):
            raise UserError(f"{self.scheme} cannot have rank {self.rank}: the least is "
                            f"{_least_rank(self.scheme)}")  # fmt: skip

    def __str__(self) -> str:
        return f"{self.scheme}:r{self.rank}"


@dataclass(frozen=True, order=True)
class Choice:
    """What takes a layer's place: nothing (``dense``), a pair, or a sum of two pairs.

    The second pair approximates what the first left over. Two pairs of one scheme are one of a
    higher rank, and are refused, so that a choice has one text.

    Attributes:
        pairs: none, one or two of them.
    """

    pairs: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pairs) > 2:
            raise UserError(f"'{self}': at most two pairs")
        if len({pair.scheme for pair in self.pairs}) < len(self.pairs):
            raise UserError(f"'{self}': two pairs of one scheme are one of a higher rank")

    def __str__(self) -> str:
        return "+".join(map(str, self.pairs)) or "dense"

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Read what `str` writes, such as ``input:g4:r8+output:g1:r3``.

        Raises:
            UserError: not such a text.
        """
        if text == "dense":
            return DENSE
        pairs = []
        for part in text.split("+"):
            found = _PAIR.fullmatch(part)
            if found is None:
                raise UserError(
                    f"'{text}' is no choice of a low-rank layer: accepted are dense, "
                    "separable:rN, plain:rN, input:gN:rN, output:gN:rN, rows:gN:rN, and two of "
                    "them with a + between"
                )
            single, grouped, groups, rank = found.groups()
            pairs.append(Pair(Scheme(single or grouped, int(groups or 1)), int(rank)))
        return cls(tuple(pairs))

    def macs(self, layer: LayerShape) -> int:
        """Return the multiply-accumulates of the layer with this choice."""
        if not self.pairs:
            return layer.macs
        return sum(int(pair.scheme.macs(layer, pair.rank)) for pair in self.pairs)

    def params(self, layer: LayerShape, adds_bias: bool = False) -> int:
        """Return the parameters of the layer with this choice, with its bias.

        Args:
            layer: that the choice is for.
            adds_bias: the pair has a bias even where the layer has none (`Method.adds_bias`).
        """
        if not self.pairs:
            return layer.params
        return pair_bias(layer, adds_bias) + sum(
            int(pair.scheme.params(layer, pair.rank)) for pair in self.pairs
        )


def pair_bias(layer: LayerShape, adds_bias: bool) -> int:
    """Return how many numbers the bias has of what takes a layer's place, for `Choice.params`."""
    return layer.outputs if layer.bias or adds_bias else 0


DENSE = Choice()
"""The layer as it is."""


def schemes_for(layer: LayerShape) -> tuple[Scheme, ...]:
    """Return all schemes of a layer; no two of them give the same pairs."""
    height, width = layer.kernel
    if layer.linear:
        # Three times as many outputs as inputs: queries, keys and values in one.
        fused = (Scheme("rows", 3),) if layer.outputs == 3 * layer.inputs else ()
        return (Scheme("plain"), *fused)
    if height * width == 1:
        alone, first = [Scheme("plain")], 2
    else:
        alone, first = [Scheme("separable")] if min(height, width) > 1 else [], 1
    return (
        *alone,
        *(Scheme("input", g) for g in _divisors(layer.inputs) if g >= first),
        *(Scheme("output", g) for g in _divisors(layer.outputs) if g >= first),
    )


def greatest_rank(layer: LayerShape, scheme: Scheme) -> int:
    """Return the rank at which a pair computes what the layer does."""
    (height, width), groups = layer.kernel, scheme.groups
    if scheme.family == "separable":
        return min(layer.outputs * height, layer.inputs * width)
    if scheme.family in ("input", "plain"):
        return min(layer.outputs, layer.inputs // groups * height * width)
    part = min(layer.inputs, layer.outputs // groups * height * width)
    return groups * part if scheme.family == "rows" else part


def check_choice(name: str, layer: LayerShape, choice: Choice) -> None:
    """Check that a layer has such a choice.

    Args:
        name: of the layer, for the message.
        layer: its shape.
        choice: for it.

    Raises:
        UserError: a scheme that the layer does not have, or too great a rank.
    """
    for pair in choice.pairs:
        family, groups = pair.scheme.family, pair.scheme.groups
        rows = family == "rows" and layer.linear and layer.outputs % groups == 0 and groups > 1
        known = schemes_for(layer)
        if not rows and pair.scheme not in known:
            raise UserError(
                f"layer '{name}' cannot be {pair}: its schemes are {', '.join(map(str, known))}"
            )
        greatest = greatest_rank(layer, pair.scheme)
        if pair.rank > greatest:
            raise UserError(
                f"layer '{name}' cannot be {pair}: the greatest rank of {pair.scheme} is {greatest}"
            )


def _least_rank(scheme: Scheme) -> int:
    return scheme.groups if scheme.family == "rows" else 1  # one for each part


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _separable(layer: LayerShape, _: int) -> tuple[int, int]:
    first, second = layer.inputs * layer.kernel[1], layer.outputs * layer.kernel[0]
    positions = layer.positions
    return positions.rows * first + positions.outputs * second, first + second


def _input(layer: LayerShape, groups: int) -> tuple[int, int]:
    weights = layer.inputs * layer.kernel[0] * layer.kernel[1] + groups * layer.outputs
    return layer.positions.outputs * weights, weights


def _output(layer: LayerShape, groups: int) -> tuple[int, int]:
    first, second = groups * layer.inputs, layer.outputs * layer.kernel[0] * layer.kernel[1]
    positions = layer.positions
    return positions.inputs * first + positions.outputs * second, first + second


def _rows(layer: LayerShape, groups: int) -> tuple[int, int]:
    weights = layer.inputs + layer.outputs // groups
    return layer.positions.outputs * weights, weights


_COSTS: dict[str, Callable[[LayerShape, int], tuple[int, int]]] = {
    "separable": _separable,
    "input": _input,
    "output": _output,
    "plain": _input,
    "rows": _rows,
}
"""Multiply-accumulates and weights for each rank."""
