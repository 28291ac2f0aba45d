"""Costs and damages of a low-rank space's options, which add up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brpnas.search.front_problem import FrontProblem, on_front
from brpnas.search.fronts._calibration import Calibration
from brpnas.search.fronts._places import Places, Translator, space_of
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["Additive", "OptionCosts", "spread"]


_OWN = 20.0
"""Weight of a network that a strategy asked for, against one of those that were drawn before."""


@dataclass(frozen=True, eq=False)
class OptionCosts:
    """What is known of costs before a search.

    Attributes:
        options: cost of the layer with each option, by the layer's name, in the order of
            ``space.options``.
        fixed: cost of all else.
        measured: networks, and their costs as they were measured, where costs do not simply add
            up; with the network as it is.
        learn: what is known of costs after more networks were measured, of them all; None where
            costs are known.
    """

    options: Mapping[str, NDArray[np.float64]]
    fixed: float
    measured: Mapping[LowRankNetwork, float] = field(default_factory=dict)
    learn: Callable[[Mapping[LowRankNetwork, float]], OptionCosts] | None = None


class Additive(Translator):
    """Adds up what is known of each option alone.

    Where networks were measured, options are priced by them, and what the sums mean is learnt
    from them: a network in which many layers are replaced may save more, or less, than the layers
    one by one.

    Attributes:
        costs: of options, as shares of the whole network's, shape (layers, most options);
            infinite where there is no option.
        damages: of options (`Option.damage`), in the same shape; infinite likewise.
        fixed: share of the whole network's cost that no option changes.
        scouted: networks of little damage whose costs are known, as shares of the whole's.

    Args:
        problem: with the space.
        option_costs: in the unit of ``problem.whole``.
        scouted: networks that were measured, chosen for little damage (`scout`).
    """

    def __init__(
        self,
        problem: FrontProblem[LowRankNetwork],
        option_costs: OptionCosts,
        scouted: Iterable[LowRankNetwork] = (),
    ) -> None:
        space = space_of(problem)
        super().__init__(space)
        self.damages = np.full((len(self.sizes), int(self.sizes.max())), np.inf)
        for row, known in enumerate(space.options.values()):
            self.damages[row, : len(known)] = [option.damage for option in known]
        self._names = list(space.options)
        self._whole = problem.whole
        self._before = option_costs.measured
        self.scouted = {arch: self._before[arch] / self._whole for arch in scouted}
        self._learn_prices = option_costs.learn
        self._calibration = Calibration()
        self._price(option_costs)
        if self._before:
            self._calibrate({})

    def learn(self, shares: Mapping[LowRankNetwork, float]) -> None:
        """Price options anew, and correct what sums mean, by networks and shares of the cost."""
        if self._learn_prices is not None:
            asked = {arch: share * self._whole for arch, share in shares.items()}
            self._price(self._learn_prices({**self._before, **asked}))
        self._calibrate(shares)

    def _price(self, option_costs: OptionCosts) -> None:
        self.costs = np.full(self.damages.shape, np.inf)
        for row, name in zip(self.costs, self._names, strict=True):
            of_layer = option_costs.options[name]
            row[: len(of_layer)] = of_layer / self._whole
        self.fixed = option_costs.fixed / self._whole

    def _calibrate(self, shares: Mapping[LowRankNetwork, float]) -> None:
        known = {arch: cost / self._whole for arch, cost in self._before.items()} | dict(shares)
        weights = [_OWN if arch in shares else 1.0 for arch in known]
        sums = self.sums(self.places(list(known))).tolist()
        self._calibration = Calibration(sums, list(known.values()), weights)

    def sums(self, places: Places) -> NDArray[np.float64]:
        """Return sums of costs as shares of the whole, of places (..., layers), shape (...)."""
        layers = np.arange(len(self.sizes))
        return np.asarray(self.fixed + self.costs[layers, places].sum(-1))

    def shares(self, places: Places) -> NDArray[np.float64]:
        """Return what the sums of places (..., layers) mean, shape (...)."""
        return self._calibration.costs(self.sums(places))

    def sum_for(self, share: float) -> float:
        """Return the sum that means this share."""
        return self._calibration.sum_for(share)

    def known(
        self, archs: Sequence[LowRankNetwork], shares: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return what was predicted of networks, or what is known where they were scouted."""
        pairs = zip(archs, shares.tolist(), strict=True)
        return np.array([self.scouted.get(arch, share) for arch, share in pairs])

    def best_scouted(self, count: int, span: tuple[float, float]) -> list[LowRankNetwork]:
        """Return scouted networks of little damage: of the front, then of what is behind it.

        Args:
            count: the greatest number of them.
            span: of the costs that they have, and are spread over, see `spread`; of a front that
                has none, what is cheaper.
        """
        archs = list(self.scouted)
        shares = np.array(list(self.scouted.values()))
        damages = self.damage(self.places(archs)).sum(-1)
        best: list[int] = []
        left = np.flatnonzero(shares <= span[1] * (1 + 1e-9))
        while len(left) and len(best) < count:
            front = on_front(shares[left], -damages[left])
            inside = front & (shares[left] >= span[0])
            # Where a network does not fit a board at once, those that do cost less than the span,
            # and may beat all that is in it.
            rows, part = (left[inside], span) if inside.any() else (left[front], (0.0, span[0]))
            best += rows[spread(shares[rows], count - len(best), part)].tolist()
            left = left[~front]
        if not best:
            return [archs[row] for row in spread(shares, count, span)]
        return [archs[row] for row in best]

    def damage(self, places: Places) -> NDArray[np.float64]:
        """Return the damage of each layer, of places (..., layers), in their shape."""
        return np.asarray(self.damages[np.arange(len(self.sizes)), places])


def spread(shares: NDArray[np.float64], count: int, span: tuple[float, float]) -> NDArray[np.int64]:
    """Choose networks whose costs lie as evenly over a span as there are networks for.

    Args:
        shares: costs of different networks, shape (n,).
        count: how many to choose; all where there are fewer.
        span: least and greatest cost; the dearest network that is chosen lies near the greatest.

    Returns:
        Their rows, the dearest first, each once. Where options are few, none may lie in the span:
        then what is nearest below it, or else the cheapest.
    """
    below = shares <= span[1] * (1 + 1e-9)
    inside = np.flatnonzero(below & (shares >= span[0]))
    if not len(inside):
        nearest = np.where(below, -shares, np.inf) if below.any() else shares
        return np.array([nearest.argmin()])
    order = inside[np.argsort(-shares[inside], kind="stable")]
    if count >= len(order):
        return order
    costs = shares[order]
    targets = np.linspace(span[1], span[0], count) * (1 + 1e-9)
    cheaper = np.searchsorted(-costs, -targets)  # the dearest within each target
    chosen = list(dict.fromkeys(np.minimum(cheaper, len(order) - 1).tolist()))
    while len(chosen) < count:
        chosen.append(int(np.abs(costs[:, None] - costs[chosen]).min(1).argmax()))
    return np.asarray(order[np.sort(chosen)])
