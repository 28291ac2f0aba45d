"""Low-rank networks as arrays of places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.search.front_problem import FrontProblem
from brpnas.spaces.lowrank import LowRankNetwork, LowRankSpace

__all__ = ["Places", "Translator", "dense_first", "dense_last", "space_of"]

Places = NDArray[np.int64]
"""Networks as rows: of each layer, the place of its option in `LowRankSpace.options`."""


def dense_last(places: Places, sizes: NDArray[np.int64]) -> Places:
    """Count options from the first pair, in the space's order; the layer as it is comes last.

    So what stands side by side has nearly the same multiply-accumulates or parameters.
    """
    return (places - 1) % sizes


def dense_first(order: Places, sizes: NDArray[np.int64]) -> Places:
    """Return the places of options that are counted so, the inverse of `dense_last`."""
    return (order + 1) % sizes


def space_of(problem: FrontProblem[LowRankNetwork]) -> LowRankSpace:
    """Return the problem's space."""
    assert isinstance(problem.space, LowRankSpace)  # noqa: S101 - the only one of such networks
    return problem.space


class Translator:
    """Translates networks of a space to places, and back.

    Attributes:
        sizes: how many options each layer has, shape (layers,).

    Raises:
        UserError: there is nothing to choose.
    """

    def __init__(self, space: LowRankSpace) -> None:
        if all(len(known) == 1 for known in space.options.values()):
            raise UserError("no layer of the network can be replaced: there is nothing to search")
        self._names = list(space.options)
        self._choices = [[option.choice for option in known] for known in space.options.values()]
        self._place = [{choice: i for i, choice in enumerate(of)} for of in self._choices]
        self.sizes = np.array([len(known) for known in self._choices], dtype=np.int64)

    def archs(self, places: Places) -> list[LowRankNetwork]:
        """Return networks, of places of shape (n, layers)."""
        return [
            LowRankNetwork(
                tuple(
                    (name, choices[place])
                    for name, choices, place in zip(self._names, self._choices, row, strict=True)
                    if place  # the first option is the layer as it is
                )
            )
            for row in places.tolist()
        ]

    def places(self, archs: Sequence[LowRankNetwork]) -> Places:
        """Return the places of networks made of the space's options, shape (n, layers)."""
        found = np.zeros((len(archs), len(self._names)), dtype=np.int64)
        for row, arch in zip(found, archs, strict=True):
            for layer, name in enumerate(self._names):
                if (choice := arch.choices.get(name)) is not None:
                    row[layer] = self._place[layer][choice]
        return found
