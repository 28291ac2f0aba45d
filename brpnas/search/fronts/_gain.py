"""Which networks would add most to a front."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brpnas.search.front_problem import on_front

__all__ = ["area_gains", "choose"]

Values = NDArray[np.float64]
Known = tuple[Values, Values]
"""Costs and objectives of networks, shape (k,) each."""


def area_gains(
    known: Known, costs: Values, objectives: Values, span: tuple[float, float]
) -> Values:
    """Return the area that each network alone would add under a front.

    The area lies between the least objective of the known networks and the best one that can be
    had at each cost of the span: the hypervolume (Zitzler and Thiele, "Multiobjective
    optimization using evolutionary algorithms", 1998).

    Args:
        known: of the front, and of others behind it; at least one.
        costs: of the networks, shape (n,); those below the span count as its least.
        objectives: of the networks, shape (n,).
        span: least and greatest cost.

    Returns:
        Shape (n,), in units of the objective times the cost's.
    """
    least, greatest = span
    front = on_front(*known)
    order = np.argsort(known[0][front], kind="stable")
    edges = np.concatenate([[least], np.clip(known[0][front][order], *span), [greatest]])
    levels = np.concatenate([[known[1].min()], known[1][front][order]])  # between the edges
    width = edges[1:] - np.maximum(edges[:-1], np.clip(costs, *span)[:, None])
    height = objectives[:, None] - levels
    return np.asarray((np.maximum(width, 0) * np.maximum(height, 0)).sum(1))


def choose(
    known: Known,
    costs: Values,
    objectives: Values,
    span: tuple[float, float],
    counts: tuple[int, int],
    window: float,
    rng: np.random.Generator,
) -> tuple[list[int], list[int]]:
    """Take one after the other what adds most, and draw others from what would add much.

    Args:
        known: networks that are measured; at least one.
        costs: of those to choose from, known or predicted, shape (n,).
        objectives: predicted, shape (n,).
        span: least and greatest cost.
        counts: networks to take from the top, each as if those before it were what is predicted;
            and to draw.
        window: share of the others, from the top, to draw from; more where it holds too few.
        rng: for the draws.

    Returns:
        Rows of those from the top, and of those that were drawn.
    """
    top, drawn = counts
    left = np.ones(len(costs), dtype=bool)
    best: list[int] = []
    for _ in range(min(top, len(costs))):
        gains = area_gains(known, costs, objectives, span)
        # Where nothing is thought to add anything, the best at any cost.
        row = int(np.lexsort((objectives, gains, left))[-1])
        left[row] = False
        best.append(row)
        known = (np.append(known[0], costs[row]), np.append(known[1], objectives[row]))
    gains = area_gains(known, costs, objectives, span)
    rest = np.flatnonzero(left)
    rest = rest[np.lexsort((-objectives[rest], -gains[rest]))]
    near = rest[: max(round(window * len(rest)), drawn)]
    return best, rng.choice(near, min(drawn, len(near)), replace=False).tolist()
