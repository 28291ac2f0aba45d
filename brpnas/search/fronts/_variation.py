"""Networks near others: mutation and crossover of many at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brpnas.search.fronts._places import Places, dense_first, dense_last

__all__ = ["cross", "mutate"]

_NEAR = 2


def mutate(
    parents: Places, sizes: NDArray[np.int64], rng: np.random.Generator, most: int = 4
) -> Places:
    """Change a few layers: half of the time to a nearby option, else to any.

    Args:
        parents: shape (n, layers).
        sizes: how many options each layer has, shape (layers,), one of them more than 1.
        rng: for the draws.
        most: steps, of which each network makes 1 to so many.

    Returns:
        Shape (n, layers); some may be as they were.
    """
    children = parents.copy()
    free = np.flatnonzero(sizes > 1)
    rows = np.arange(len(children))
    steps = rng.integers(1, most + 1, len(children))
    for step in range(most):
        moving = rows[steps > step]
        layers = rng.choice(free, len(moving))
        here, last = dense_last(children[moving, layers], sizes[layers]), sizes[layers] - 1
        away = rng.integers(1, _NEAR + 1, len(moving)) * rng.choice([-1, 1], len(moving))
        beyond = (here + away < 0) | (here + away > last)  # then the other way
        near = np.clip(here + np.where(beyond, -away, away), 0, last)
        far = rng.integers(0, sizes[layers])
        moved = np.where(rng.random(len(moving)) < 0.5, near, far)
        children[moving, layers] = dense_first(moved, sizes[layers])
    return children


def cross(one: Places, other: Places, rng: np.random.Generator) -> Places:
    """Take each layer from either of two parents, of shape (n, layers) each."""
    return np.where(rng.random(one.shape) < 0.5, one, other)
