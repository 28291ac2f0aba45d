from __future__ import annotations

import dataclasses
import itertools
import math
import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from brpnas.search import on_front
from brpnas.search.fronts._additive import Additive, spread
from brpnas.search.fronts._calibration import Calibration
from brpnas.search.fronts._gain import area_gains, choose
from brpnas.search.fronts._knapsack import least_damage
from brpnas.search.fronts._places import dense_first, dense_last
from brpnas.search.fronts._relation import layer_weights
from brpnas.search.fronts._scouting import scout
from brpnas.search.fronts._variation import cross, mutate
from brpnas.spaces import LowRankNetwork
from brpnas.testing import SyntheticFront


def additive(front: SyntheticFront) -> Additive:
    return Additive(front.problem, front.option_costs)


def test_places_are_networks_and_costs_are_the_spaces() -> None:
    front = SyntheticFront(6)
    known = additive(front)
    archs = front.space.sample(20, np.random.default_rng(0))
    places = known.places(archs)
    assert known.archs(places) == archs
    shares = [front.space.macs(arch) / front.problem.whole for arch in archs]
    assert known.shares(places) == pytest.approx(shares, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_least_damage_is_that_of_all_networks(seed: int) -> None:
    front = SyntheticFront(4, options=7, seed=seed)
    known = additive(front)
    every = np.array(list(itertools.product(*map(range, known.sizes))))
    shares, damages = known.shares(every), known.damage(every).sum(1)
    found = least_damage(known, 0.95)
    assert len(found) > 50
    assert known.shares(found).max() <= 0.95 * (1 + 1e-9)
    for share, damage in zip(known.shares(found), known.damage(found).sum(1), strict=True):
        # Rounding moves a network's cost by half a step of each layer.
        assert damage <= damages[shares <= share - 4e-4].min(initial=np.inf)
        assert damage >= damages[shares <= share * (1 + 1e-9)].min() * (1 - 1e-9)
    best = on_front(shares, -damages) & (shares <= 0.95)
    assert len(found) >= 0.9 * best.sum()


def test_least_damage_under_other_weights_is_another() -> None:
    known = additive(SyntheticFront(6))
    plain, scaled = (least_damage(known, 0.5, scale=w) for w in (None, np.linspace(0.2, 5, 6)))
    mean = [known.damage(places)[len(places) // 2] for places in (plain, scaled)]
    assert mean[1][-1] < mean[0][-1]


def test_where_nothing_is_cheap_enough_it_is_the_cheapest() -> None:
    known = additive(SyntheticFront(6))
    (places,) = least_damage(known, 0.001)
    assert known.shares(places) == known.costs.min(1).sum() + known.fixed


def test_spread_takes_each_once_evenly_and_the_dearest() -> None:
    shares = np.sort(np.random.default_rng(0).uniform(0, 1, 500))
    for count in (1, 10, 60):
        rows = spread(shares, count, (0.4, 0.8))
        assert len(set(rows)) == count
        chosen = shares[rows]
        assert (np.diff(chosen) < 0).all()
        assert chosen[0] == shares[shares <= 0.8].max()
        assert count < 10 or -np.diff(chosen).min() < 3 * 0.4 / count
    few = np.array([0.41, 0.42, 0.9, 0.43, 0.79])
    assert spread(few, 3, (0.4, 0.8)).tolist() == [4, 3, 0]
    assert spread(few, 9, (0.4, 0.8)).tolist() == [4, 3, 1, 0]
    assert spread(np.array([0.9, 0.2, 0.3]), 3, (0.4, 0.8)).tolist() == [2]
    assert spread(np.array([0.9, 0.95]), 3, (0.4, 0.8)).tolist() == [0]


def test_area_gains_by_hand() -> None:
    known = (np.array([0.2, 0.6, 0.7]), np.array([10.0, 30.0, 20.0]))
    costs, values = np.array([0.4, 0.4, 0.1, 0.8, 0.6]), np.array([20.0, 40.0, 12.0, 30.0, 31.0])
    expected = [0.2 * 10, 0.2 * 30 + 0.4 * 10, 0.4 * 2, 0.0, 0.4 * 1]
    assert area_gains(known, costs, values, (0.2, 1.0)) == pytest.approx(expected)


def test_choices_are_spread_because_each_takes_the_others_gain() -> None:
    known = (np.array([0.2, 0.9]), np.array([10.0, 30.0]))
    costs = np.array([0.5, 0.501, 0.7, 0.3])
    values = np.array([25.0, 25.0, 28.0, 15.0])
    rng = np.random.default_rng(0)
    best, drawn = choose(known, costs, values, (0.2, 0.9), (3, 9), 0.5, rng)
    assert sorted(best) == [0, 2, 3]
    assert drawn == [1]


def test_layers_that_weigh_more_than_they_say_are_found() -> None:
    rng = np.random.default_rng(0)
    damages = rng.lognormal(size=(40, 8))
    truth = np.array([4.0, 1, 1, 0.25, 1, 1, 1, 1])
    weights = layer_weights(damages, 90 - (damages @ truth) ** 0.7)
    assert weights[0] == weights.max()
    assert weights[3] == weights.min()
    others, weighed = rng.lognormal(size=(2, 200, 8))[0], weights
    plain = np.corrcoef(others.sum(1), others @ truth)[0, 1]
    assert np.corrcoef(others @ weighed, others @ truth)[0, 1] > (1 + plain) / 2


def test_no_relation_no_weights() -> None:
    for damages in (np.zeros((3, 4)), np.ones((0, 4)), np.ones((1, 4))):
        assert layer_weights(damages, np.arange(float(len(damages)))).tolist() == [1] * 4


def test_children_are_near_and_within_their_options() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([3, 1, 20, 8])
    parents = rng.integers(0, sizes, (500, 4))
    children = mutate(parents, sizes, rng, 2)
    assert ((children >= 0) & (children < sizes)).all()
    changed = (children != parents).sum(1)
    assert set(changed) == {0, 1, 2}
    assert (changed > 0).mean() > 0.7
    mixed = cross(parents, children, rng)
    assert ((mixed == parents) | (mixed == children)).all()


def test_the_layer_as_it_is_is_near_the_dearest_option() -> None:
    rng = np.random.default_rng(0)
    sizes = np.full(6, 40)
    children = mutate(np.zeros((2000, 6), dtype=np.int64), sizes, rng, 1)
    changed = children[children > 0]
    near = np.isin(changed, [38, 39]).mean()  # steps that would lead beyond it go the other way
    assert 0.4 < near < 0.6
    assert np.isin(changed, [1, 2]).mean() < 0.1
    order = dense_last(children, sizes)
    assert (order[children == 0] == 39).all()
    assert (order[children > 0] == changed - 1).all()
    assert (dense_first(order, sizes) == children).all()


def test_sums_mean_what_was_measured() -> None:
    front = SyntheticFront(6, known=False)
    archs = [LowRankNetwork(), *front.space.sample(30, np.random.default_rng(0))]
    whole = front.problem.whole
    bent = {arch: whole * (front.space.macs(arch) / whole) ** 2 for arch in archs}
    known = Additive(front.problem, dataclasses.replace(front.option_costs, measured=bent))
    others = known.places(front.space.sample(30, np.random.default_rng(1)))
    assert known.shares(others) == pytest.approx(known.sums(others) ** 2, abs=0.03)
    assert known.shares(np.zeros(6, dtype=np.int64)) == pytest.approx(1)
    for share in (0.05, 0.3, 0.9):
        assert known.sum_for(share) == pytest.approx(share**0.5, abs=0.03)
    found = least_damage(known, 0.5)
    assert 0.45 < known.shares(found).max() <= 0.5
    own = known.archs(found[-1:])[0]
    known.learn({own: 0.7})  # what was asked for counts for more than what was drawn
    assert known.shares(found[-1]) == pytest.approx(0.7, abs=0.05)


def test_calibration_rises_and_is_undone() -> None:
    rng = np.random.default_rng(0)
    sums = rng.uniform(0.2, 1, 50)
    made = Calibration(sums.tolist(), (0.5 * sums + 0.02 * rng.normal(size=50)).tolist())
    at = np.linspace(0.01, 3, 200)
    assert (np.diff(made.costs(at)) > 0).all()
    assert [made.sum_for(float(cost)) for cost in made.costs(at)] == pytest.approx(at, rel=1e-5)
    assert made.costs(3.0) == pytest.approx(1.5, abs=0.1)
    assert (Calibration().costs(at) == at).all()


class _Uneven:
    """Costs that differ by chance from what adds up, as multipliers do that do not divide."""

    def __init__(self) -> None:
        self.front = SyntheticFront(6, known=False)
        self.asked: list[LowRankNetwork] = []
        drawn = self.front.space.sample(30, np.random.default_rng(0))
        measured = {arch: self.cost(arch) for arch in (LowRankNetwork(), *drawn)}
        self.costs = dataclasses.replace(self.front.option_costs, measured=measured)

    def cost(self, arch: LowRankNetwork) -> float:
        chances = [zlib.crc32(f"{one}".encode()) % 7 / 7 for one in arch.replaced]
        return float(self.front.space.macs(arch) * (1 + 0.1 * sum(chances)))

    def measure(self, archs: Sequence[LowRankNetwork]) -> list[float]:
        self.asked += archs
        return [math.nan if place == 3 else self.cost(arch) for place, arch in enumerate(archs)]


def test_scouting_finds_what_is_cheap_by_chance() -> None:
    costs = _Uneven()
    problem, plain = costs.front.problem, Additive(costs.front.problem, costs.costs)
    first = costs.front.space.sample(20, np.random.default_rng(1))
    twice = [*first, *list(costs.costs.measured)[:2]]  # what is known is not asked for
    sizes = [25] * 4
    found = scout(problem, costs.costs, costs.measure, twice, sizes, seed=0)
    assert len(costs.asked) == len(set(costs.asked)) == 120
    assert costs.asked[:20] == first
    assert len(found) == 115  # but for those that failed
    assert all(found[arch] == costs.cost(arch) for arch in found)
    solved = least_damage(plain, problem.span[1])
    solved = solved[spread(plain.shares(solved), 120, problem.span)]
    fronts = []
    for archs in (list(found), plain.archs(solved)):
        damages = plain.damage(plain.places(archs)).sum(1)
        least = np.quantile(damages, np.linspace(0.1, 0.9, 9))
        fronts.append((damages, np.array([costs.cost(arch) for arch in archs]), least))
    at = fronts[1][2]
    (scouted, sums) = ([cost[damages <= one].min() for one in at] for damages, cost, _ in fronts)
    assert np.median(np.array(scouted) / np.array(sums)) < 0.98
    again = scout(problem, costs.costs, costs.measure, first, sizes, seed=0)
    assert list(again) == list(found)


def test_what_was_scouted_is_chosen_by_its_cost() -> None:
    costs = _Uneven()
    archs = tuple(costs.costs.measured)[1:]
    known = Additive(costs.front.problem, costs.costs, archs)
    span = (0.2, 0.9)
    whole = costs.front.problem.whole
    inside = [arch for arch in archs if span[0] <= costs.cost(arch) / whole <= span[1]]
    damages = known.damage(known.places(inside)).sum(1)
    shares = np.array([costs.cost(arch) / whole for arch in inside])
    front = {arch for arch, on in zip(inside, on_front(shares, -damages), strict=True) if on}
    assert set(known.best_scouted(len(front), span)) == front
    assert set(known.best_scouted(3, span)) < front

    def damage_of(arch: LowRankNetwork) -> float:
        return float(known.damage(known.places([arch])).sum())

    more = known.best_scouted(len(front) + 2, span)
    assert set(more[: len(front)]) == front
    assert set(more) <= set(inside)
    assert len(set(more)) == len(more) == len(front) + 2
    (nearest,) = known.best_scouted(3, (0.001, 0.01))
    assert costs.cost(nearest) == min(costs.cost(arch) for arch in archs)
    # All that is in the span, before what is cheaper and has no less damage.
    dear = [arch for arch in inside if costs.cost(arch) / whole >= 0.5]
    assert set(dear) <= set(known.best_scouted(len(archs), (0.5, 0.9)))
    # What is cheaper and beats all of the span comes first.
    mildest = min(archs, key=damage_of)
    measured = {**costs.costs.measured, mildest: 0.1 * whole}
    dominating = dataclasses.replace(costs.costs, measured=measured)
    other = Additive(costs.front.problem, dominating, archs)
    assert other.best_scouted(1, (0.5, 0.9)) == [mildest]
