"""The least sum of damages at every sum of costs, by dynamic programming."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brpnas.search.front_problem import on_front
from brpnas.search.fronts._additive import Additive
from brpnas.search.fronts._places import Places

__all__ = ["least_damage"]


def least_damage(
    additive: Additive,
    greatest: float,
    bins: int = 10_000,
    scale: NDArray[np.float64] | None = None,
) -> Places:
    """Return the networks that no other one beats if damages and costs add up.

    The knapsack problem with one item of each class (Kellerer, Pferschy and Pisinger, "Knapsack
    problems", 2004, chapter 11), solved for all budgets at once. Costs are rounded to the nearest
    of so many steps, so that a network is missed only by one whose cost differs by less than the
    rounding of all layers: some ten-thousandths of the whole.

    Args:
        additive: costs and damages.
        greatest: share of the whole's cost that networks may have.
        bins: steps between the cheapest network and that cost.
        scale: what the damages of each layer are multiplied by, shape (layers,).

    Returns:
        Shape (networks, layers), the cheapest first, within the greatest share by their exact
        costs; only the cheapest where none is.
    """
    costs = additive.costs
    damages = additive.damages if scale is None else additive.damages * scale[:, None]
    cheapest = costs.min(1)
    room = additive.sum_for(greatest) - additive.fixed - cheapest.sum()
    if room <= 0:
        return np.asarray(costs.argmin(1)[None])
    best = np.zeros(bins + 1)  # least damage of the layers so far, at most so much cost
    steps = np.zeros(costs.shape, dtype=np.int64)
    taken = np.zeros((len(costs), bins + 1), dtype=np.int16)
    for layer, (size, cost, damage) in enumerate(zip(additive.sizes, costs, damages, strict=True)):
        steps[layer, :size] = np.rint((cost[:size] - cheapest[layer]) / room * bins)
        useful = np.flatnonzero(
            on_front(cost[:size], -damage[:size]) & (steps[layer, :size] <= bins)
        )
        before, best = best, np.full(bins + 1, np.inf)
        for option in useful:
            step = steps[layer, option]
            total = before[: bins + 1 - step] + damage[option]
            better = total < best[step:]
            best[step:][better] = total[better]
            taken[layer, step:][better] = option
    ends = np.flatnonzero(np.diff(best, prepend=np.inf) < 0)
    places = np.empty((len(ends), len(costs)), dtype=np.int64)
    left = ends.copy()
    for layer in reversed(range(len(costs))):
        places[:, layer] = taken[layer, left]
        left -= steps[layer, places[:, layer]]
    shares = additive.shares(places)
    lost = damages[np.arange(len(costs)), places].sum(1)
    kept = on_front(shares, -lost) & (shares <= greatest * (1 + 1e-9))
    places = places[kept]
    return places[np.argsort(shares[kept], kind="stable")]
