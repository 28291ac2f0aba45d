"""What networks with little damage cost, where costs are computed: many are asked for, none judged.

How long a network takes on a board depends on whether the sizes of all its layers can be divided
between its multipliers: networks of the same multiply-accumulates differ by several percent, by
chance as far as any sum over layers can tell. So it pays to compute many that are about as good,
before the few that turn out to be cheap are judged, which takes far longer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from brpnas.search.front_problem import FrontProblem, on_front
from brpnas.search.fronts._additive import Additive, OptionCosts
from brpnas.search.fronts._gain import choose
from brpnas.search.fronts._knapsack import least_damage
from brpnas.search.fronts._places import Places
from brpnas.search.fronts._variation import cross, mutate
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["scout"]

_BRED = 1500
"""Mutants of a round, and as many crossings."""
_CHANGES = 2
"""Layers of a mutant that are changed, at most."""


def scout(
    problem: FrontProblem[LowRankNetwork],
    option_costs: OptionCosts,
    measure: Callable[[Sequence[LowRankNetwork]], Iterable[float]],
    first: Sequence[LowRankNetwork],
    sizes: Sequence[int],
    seed: int,
) -> dict[LowRankNetwork, float]:
    """Search the front of costs and sums of damages.

    After the first networks, each round asks for those that would add most to the front, if they
    were as much cheaper than predicted as one in six is: of networks that are best if costs add up,
    and of mutants and crossings of what is on the front. What costs are, beside their sums, is
    learnt by a Gaussian process: networks that have many options in common are alike.

    Args:
        problem: what is searched; its objective is not asked for.
        option_costs: with networks that were measured.
        measure: computes costs, in the unit of ``problem.whole``; NaN where it fails.
        first: networks that are thought to be good.
        sizes: networks of each further round.
        seed: of all random choices.

    Returns:
        The networks that were asked for, and their costs, but for those that failed.
    """
    rng = np.random.default_rng(seed)
    additive = Additive(problem, option_costs)
    shares = {arch: cost / problem.whole for arch, cost in option_costs.measured.items()}
    asked = set(shares)
    found: dict[LowRankNetwork, float] = {}

    def ask(chosen: Sequence[LowRankNetwork]) -> None:
        asked.update(chosen)
        for arch, cost in zip(chosen, measure(chosen), strict=True):
            if np.isfinite(cost):
                found[arch], shares[arch] = cost, cost / problem.whole

    ask([arch for arch in first if arch not in asked])
    for size in sizes:
        additive.learn({arch: shares[arch] for arch in found})
        known = additive.places(list(shares))
        costs, values = np.array(list(shares.values())), _value(additive, known)
        bred = _bred(additive, known[on_front(costs, values)], problem.span, rng)
        archs = additive.archs(bred)
        new = [row for row, arch in enumerate(archs) if arch not in asked]
        if not new:
            break
        expected = _optimistic(additive, (known, costs), bred[new])
        front = (costs, values)
        rows, _ = choose(front, expected, _value(additive, bred[new]), problem.span, (size, 0),
                         0.0, rng)  # fmt: skip
        ask([archs[new[row]] for row in rows])
    return found


def _value(additive: Additive, places: Places) -> NDArray[np.float64]:
    """Return what is to be maximised: less damage, in proportion, counts the same everywhere."""
    least = additive.damages[additive.damages > 0].min()
    damages = np.maximum(additive.damage(places).sum(-1), least)
    return np.asarray(-np.log(damages))


def _bred(
    additive: Additive, front: Places, span: tuple[float, float], rng: np.random.Generator
) -> Places:
    solved = least_damage(additive, span[1])
    one, other = front[rng.integers(len(front), size=(2, _BRED))]
    mutants = mutate(front[rng.integers(len(front), size=_BRED)], additive.sizes, rng, _CHANGES)
    bred = np.unique(np.concatenate([solved, mutants, cross(one, other, rng)]), axis=0)
    shares = additive.shares(bred)
    inside: Places = bred[(shares >= span[0]) & (shares <= span[1])]
    return inside


def _optimistic(
    additive: Additive, known: tuple[Places, NDArray[np.float64]], wanted: Places
) -> NDArray[np.float64]:
    """Return costs that one in six networks may undercut, as shares of the whole."""
    places, shares = known
    kernel = ConstantKernel(1.0) * RBF(3.0) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        # At a bound of its size: then there is no noise, or nothing to be learnt.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(_indicators(additive, places), np.log(shares / additive.shares(places)))
    mean, deviation = process.predict(_indicators(additive, wanted), return_std=True)
    return np.asarray(additive.shares(wanted) * np.exp(mean - deviation))


def _indicators(additive: Additive, places: Places) -> NDArray[np.float64]:
    """Return which option of each layer it is, (n, all options): a step is the same everywhere."""
    starts = np.cumsum(additive.sizes) - additive.sizes
    found = np.zeros((len(places), int(additive.sizes.sum())))
    found[np.arange(len(places))[:, None], starts + places] = 1.0
    return found
