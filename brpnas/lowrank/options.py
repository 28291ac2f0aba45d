"""Of all schemes and ranks of a layer, the few that a search need consider."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from brpnas.lowrank.factors import Factors
from brpnas.lowrank.schemes import Choice, Pair, Scheme, pair_bias, schemes_for
from brpnas.lowrank.shapes import LayerShape

__all__ = ["PRICES", "find_options"]

_NEGLIGIBLE = 1e-3
"""Relative errors below this need not be told apart."""

_Counts = NDArray[np.int64]
PRICES: Mapping[str, Callable[[Scheme, LayerShape, _Counts, bool], _Counts]] = {
    "macs": lambda scheme, shape, ranks, _: scheme.macs(shape, ranks),
    "params": lambda scheme, shape, ranks, adds_bias: (
        scheme.params(shape, ranks) + pair_bias(shape, adds_bias)
    ),
}
"""What ranks of a scheme cost, by what is to be saved; pairs may add a bias (`pair_bias`)."""


def find_options(
    factors: Factors,
    price: str = "macs",
    most: int = 16,
    each_kind: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[tuple[Choice, float]]]:
    """Return choices that no other one beats in price and error of the layer's outputs.

    Args:
        factors: of the network; knows the error of every rank of every scheme.
        price: a key of `PRICES`.
        most: choices of a layer, spread evenly along its front.
        each_kind: as many more of each kind of schemes (`Scheme.kind`), spread along the kind's own
            front: for costs such as latency, which may favour another kind than the price does.
        progress: called with (layers done, layers).

    Returns:
        By layer, the choices and their relative errors (`Factors.error`), the cheapest first;
        all are cheaper than the layer is. A layer that no pair makes cheaper has none.
    """
    found: dict[str, list[tuple[Choice, float]]] = {}
    for done, (name, shape) in enumerate(factors.layers.shapes.items(), 1):
        schemes = list(schemes_for(shape))
        kept = set(_front(factors, name, shape, schemes, price, most))
        for kind in {scheme.kind for scheme in schemes} if each_kind else ():
            own = [scheme for scheme in schemes if scheme.kind == kind]
            kept |= set(_front(factors, name, shape, own, price, each_kind))
        cheapest_first = sorted(kept, key=lambda one: (one[0], one[2]))
        found[name] = [(choice, error) for _, error, choice in cheapest_first]
        if progress:
            progress(done, len(factors.layers.shapes))
    return found


def _front(
    factors: Factors,
    name: str,
    shape: LayerShape,
    schemes: Iterable[Scheme],
    price: str,
    most: int,
) -> list[tuple[int, float, Choice]]:
    """Return price, error and choice of up to ``most`` that none beats, the cheapest first."""
    whole = {"macs": shape.macs, "params": shape.params}[price]
    every = []
    for scheme in schemes:
        ranks = scheme.ranks(shape)
        prices = PRICES[price](scheme, shape, ranks, factors.method.adds_bias)
        errors = factors.errors(name, scheme).numpy()
        every += [
            (int(cost), float(error), scheme, int(rank))
            for cost, error, rank in zip(prices, errors, ranks, strict=True)
            if cost < whole and error < 1
        ]
    every.sort(key=lambda one: one[:2])
    front: list[tuple[int, float, Scheme, int]] = []
    for one in every:
        if not front or one[1] < front[-1][1]:
            front.append(one)
    return [
        (cost, error, Choice((Pair(scheme, rank),)))
        for cost, error, scheme, rank in _spread(front, whole, most)
    ]


def _spread(
    front: list[tuple[int, float, Scheme, int]], whole: int, most: int
) -> list[tuple[int, float, Scheme, int]]:
    """Return up to ``most`` points that lie evenly on a front, in price and logarithm of error."""
    if len(front) <= most:
        return front
    worst = np.log(1 / _NEGLIGIBLE)
    places = [
        (cost / whole, np.log(max(error, _NEGLIGIBLE) / _NEGLIGIBLE) / worst)
        for cost, error, *_ in front
    ]
    steps = [np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(places)]
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0, along[-1], most)
    nearest = np.abs(along[:, None] - wanted).argmin(0)
    return [front[i] for i in np.unique(nearest)]
