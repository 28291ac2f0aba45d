"""From the network as it is, always the change that costs least damage for what it saves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brpnas.search.front_problem import FrontProblem
from brpnas.search.fronts._additive import Additive, spread
from brpnas.search.fronts._places import Places
from brpnas.search.fronts._planned import Planned
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["Greedy"]


class Greedy(Planned):
    """Walks from the network as it is to the least cost of the span, one layer at a time.

    Each step changes one layer to a cheaper option, where the added damage (`Option.damage`) per
    cost saved is the least of all layers and options. Asked for are networks of that path, spread
    over the span.

    Args:
        problem: what is searched.
        seed: not used: nothing is drawn.
        budget: networks to ask for; fewer where the path has fewer.
        option_costs: of the layer with each option, by the layer's name, in the order of
            ``space.options`` and the unit of ``problem.whole``.
        fixed_cost: of all else, in the same unit.
    """

    def __init__(
        self,
        problem: FrontProblem[LowRankNetwork],
        seed: int,  # noqa: ARG002 - every strategy has one
        budget: int,
        option_costs: Mapping[str, NDArray[np.float64]],
        fixed_cost: float,
    ) -> None:
        additive = Additive(problem, option_costs, fixed_cost)
        path = _path(additive, problem.span[0])
        rows = spread(additive.shares(path), budget, problem.span)
        super().__init__(additive.archs(path[rows]), "greedy")


def _path(additive: Additive, least: float) -> Places:
    """Return the networks of the walk, shape (steps, layers), until one costs less than that."""
    layers = np.arange(len(additive.sizes))
    here = np.zeros(len(layers), dtype=np.int64)
    path = [here]
    while additive.shares(here) > least:
        saved = additive.costs[layers, here][:, None] - additive.costs  # (layers, options)
        cheaper = saved > 0
        added = additive.damages - additive.damages[layers, here][:, None]
        price = np.full(saved.shape, np.inf)
        np.divide(added, saved, out=price, where=cheaper)
        if not cheaper.any():
            break
        layer, option = np.unravel_index(int(price.argmin()), price.shape)
        here = here.copy()
        here[layer] = option
        path.append(here)
    return np.stack(path)
