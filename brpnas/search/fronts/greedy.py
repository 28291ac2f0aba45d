"""From the network as it is, always the change that costs least damage for what it saves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from brpnas.search.fronts._additive import Additive
from brpnas.search.fronts._places import Places
from brpnas.search.fronts._planned import Planned

__all__ = ["Greedy"]


class Greedy(Planned):
    """Walks from the network as it is to the least cost of the span, one layer at a time.

    Each step changes one layer to a cheaper option, where the added damage (`Option.damage`) per
    cost saved is the least of all layers and options. Asked for are networks of that path, spread
    over the span.
    """

    origin: ClassVar[str] = "greedy"

    def _networks(self, additive: Additive) -> Places:
        return _path(additive, self._problem.span[0])


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
