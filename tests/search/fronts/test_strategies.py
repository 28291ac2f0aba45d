from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.lowrank import Choice
from brpnas.lowrank.flow import Flow
from brpnas.search import Candidate, FrontProblem, Observation, Strategy
from brpnas.search.fronts import (
    BRPFront,
    EvolutionFront,
    GradientFront,
    Greedy,
    Knapsack,
    OptionCosts,
    RandomFront,
)
from brpnas.spaces import Graph
from brpnas.spaces.lowrank import LowRankNetwork, LowRankSpace
from brpnas.testing import FrontStrategyContract, LinearPredictor, SyntheticFront


def linear(_: int) -> LinearPredictor:
    return LinearPredictor()


class TestRandom(FrontStrategyContract):
    def strategy(self, front: SyntheticFront, seed: int, budget: int) -> Strategy[LowRankNetwork]:
        return RandomFront(front.problem, seed, budget)


class TestKnapsack(FrontStrategyContract):
    random = False

    def strategy(self, front: SyntheticFront, seed: int, budget: int) -> Strategy[LowRankNetwork]:
        return Knapsack(front.problem, seed, budget, front.option_costs)


class TestGreedy(FrontStrategyContract):
    random = False

    def strategy(self, front: SyntheticFront, seed: int, budget: int) -> Strategy[LowRankNetwork]:
        return Greedy(front.problem, seed, budget, front.option_costs)


class TestEvolution(FrontStrategyContract):
    def strategy(self, front: SyntheticFront, seed: int, budget: int) -> Strategy[LowRankNetwork]:
        return EvolutionFront(front.problem, seed, budget)


class TestBRP(FrontStrategyContract):
    def strategy(self, front: SyntheticFront, seed: int, budget: int) -> Strategy[LowRankNetwork]:
        return brp(front, seed, budget)


class TestGradient(FrontStrategyContract):
    random = False

    def strategy(self, front: SyntheticFront, seed: int, budget: int) -> Strategy[LowRankNetwork]:
        knapsack = Knapsack(front.problem, seed, 200, front.option_costs)
        found = [(front.space.macs(one.arch), one.arch) for one in knapsack.ask(200)]

        def trainer(share: float) -> Mapping[str, Choice]:
            fitting = [arch for macs, arch in found if macs <= share * front.problem.whole]
            return (fitting or [found[-1][1]])[0].choices

        return GradientFront(front.problem, seed, budget, front.option_costs, trainer)


def brp(front: SyntheticFront, seed: int, budget: int) -> BRPFront:
    costs = (front.option_costs,)
    return BRPFront(front.problem, seed, budget, linear, linear, 4, *costs)


def walk(strategy: Strategy[LowRankNetwork], front: SyntheticFront) -> list[Candidate[Any]]:
    trace: list[Candidate[Any]] = []
    while batch := strategy.ask(1000):
        strategy.tell([front.observe(one.arch) for one in batch])
        trace += batch
    return trace


def area(trace: Sequence[Candidate[Any]], front: SyntheticFront) -> float:
    return front.area([front.observe(one.arch) for one in trace])


def test_brp_beats_knapsack_which_beats_evolution_and_random() -> None:
    areas = []
    for seed in range(3):
        front = SyntheticFront(12, misjudged=0.7, seed=seed)
        strategies = (
            brp(front, seed, 40),
            Knapsack(front.problem, seed, 40, front.option_costs),
            EvolutionFront(front.problem, seed, 40),
            RandomFront(front.problem, seed, 40),
        )
        areas.append([area(walk(strategy, front), front) for strategy in strategies])
    learnt, knapsack, evolved, drawn = np.mean(areas, 0)
    assert learnt > knapsack
    assert knapsack > max(evolved, drawn) + 0.05


def test_evolution_gets_better() -> None:
    front = SyntheticFront(6)
    trace = walk(EvolutionFront(front.problem, 0, 300), front)
    assert len(trace) == 300
    assert area(trace, front) > area(trace[:40], front) + 0.02


def test_rounds_and_origins_of_brp() -> None:
    front = SyntheticFront(6)
    counts = Counter((one.iteration, one.origin) for one in walk(brp(front, 0, 40), front))
    assert counts[0, "knapsack"] == counts[0, "random"] == 7
    assert {origin for i, origin in counts if 0 < i < 4} == {"top", "explore"}
    assert counts[4, "final"] == 8
    assert sum(counts.values()) == 40


def test_costs_that_are_not_known_are_learnt_in_their_unit() -> None:
    fitted: list[float] = []

    class Cost(LinearPredictor):
        def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
            fitted.extend(values)
            return super().fit(graphs, values)

    front = SyntheticFront(6, known=False)
    costs = (front.option_costs,)
    strategy = BRPFront(front.problem, 0, 24, linear, lambda _: Cost(), 3, *costs)
    trace = walk(strategy, front)
    assert len(trace) == 24
    assert {round(macs) for macs in fitted} <= {front.space.macs(one.arch) for one in trace}
    assert fitted


def test_rounds_that_nothing_can_be_learnt_from_are_random(
    caplog: pytest.LogCaptureFixture,
) -> None:
    front = SyntheticFront(6)
    strategy = brp(front, 0, 24)
    origins = set()
    while batch := strategy.ask(24):
        origins |= {one.origin for one in batch}
        strategy.tell([Observation(one.arch, 50.0, {"macs": 1e6}) for one in batch])
    assert origins == {"knapsack", "random"}
    assert "round 1 is random: a fit needs" in caplog.text


def test_knapsack_and_greedy_start_at_the_greatest_cost_and_go_down() -> None:
    front = SyntheticFront(12)
    for kind in (Knapsack, Greedy):
        trace = walk(kind(front.problem, 0, 30, front.option_costs), front)
        shares = front.problem.known_shares([one.arch for one in trace])
        assert len(trace) == 30
        assert (np.diff(shares) < 0).all()
        assert shares[0] > 0.93
        assert shares[-1] < 0.25


@pytest.mark.parametrize("kind", [Knapsack, Greedy])
def test_costs_that_do_not_add_up_are_corrected_by_those_measured(kind: type[Any]) -> None:
    front = SyntheticFront(12, known=False, span=(0.55, 0.6))
    problem = front.problem
    strategy, costs = kind(problem, 0, 20, front.option_costs), []
    while batch := strategy.ask(20):
        for one in batch:
            seen = front.observe(one.arch)
            share = problem.share(seen) ** 3  # every layer saves more, the more others do
            costs.append(share)
            strategy.tell([dataclasses.replace(seen, costs={"macs": share * problem.whole})])
    assert max(costs[:5]) < 0.3  # far below what was asked for
    assert any(0.5 < share <= 0.6 for share in costs[5:])


def test_options_are_priced_anew_by_networks_that_were_measured() -> None:
    front = SyntheticFront(12, known=False)
    right = front.option_costs
    # Every second layer is thought to cost next to nothing, however it is replaced.
    wrong = {
        name: costs * (1.0 if row % 2 else 0.01)
        for row, (name, costs) in enumerate(right.options.items())
    }
    told: list[set[LowRankNetwork]] = []

    def learn(measured: Mapping[LowRankNetwork, float]) -> OptionCosts:
        told.append(set(measured))
        return dataclasses.replace(right, measured={dense: front.problem.whole})

    dense = LowRankNetwork()
    priced = OptionCosts(wrong, right.fixed, {dense: front.problem.whole}, learn)
    trace = walk(Knapsack(front.problem, 0, 40, priced), front)
    best = walk(Knapsack(front.problem, 0, 40, right), front)
    assert [len(one) for one in told] == [11, 21, 31]
    assert told[0] == {dense, *(one.arch for one in trace[:10])}
    reached = [area(part, front) for part in (trace[:10], trace[10:], best)]
    assert reached[0] < 0.95 * reached[2]
    assert reached[1] > 0.98 * reached[2]


@pytest.mark.parametrize("kind", [Knapsack, Greedy, RandomFront, EvolutionFront, BRPFront])
def test_a_span_out_of_reach_gets_the_nearest(kind: type[Any]) -> None:
    front = SyntheticFront(6, span=(0.001, 0.002))
    costs = (front.option_costs,)
    more = {BRPFront: (linear, linear, 3, *costs), Knapsack: costs, Greedy: costs}.get(kind, ())
    trace = walk(kind(front.problem, 0, 8, *more), front)
    assert trace
    assert front.problem.known_shares([trace[0].arch])[0] < 0.3


def test_gradient_asks_for_each_network_once_from_the_dearest_cost() -> None:
    front = SyntheticFront(6)
    arch = front.space.sample(1, np.random.default_rng(0))[0]
    targets: list[float] = []

    def trainer(share: float) -> Mapping[str, Choice]:
        targets.append(share)
        return arch.choices if share < 0.5 else {}

    strategy = GradientFront(front.problem, 0, 4, front.option_costs, trainer)
    assert [str(one.arch) for one in strategy.ask(9)] == ["dense"]
    assert targets == [0.95]
    assert [one.arch for one in strategy.ask(9)] == [arch]
    assert strategy.ask(9) == []
    assert targets == pytest.approx([0.95, 0.7, 0.45, 0.2])


def test_gradient_trains_for_no_cost_that_cannot_be_met() -> None:
    front = SyntheticFront(6)
    costs = front.option_costs
    options = {name: values + 0.1 * front.problem.whole for name, values in costs.options.items()}
    dear = OptionCosts(options, costs.fixed)
    cheapest = (
        costs.fixed + sum(values.min() for values in options.values())
    ) / front.problem.whole
    assert 0.6 < cheapest < 0.95
    targets: list[float] = []

    def trainer(share: float) -> Mapping[str, Choice]:
        targets.append(share)
        return {}

    strategy = GradientFront(front.problem, 0, 4, dear, trainer)
    strategy.ask(1)
    assert strategy.ask(1) == []
    assert targets[0] == 0.95
    assert targets[-1] == pytest.approx(1.01 * cheapest)


def test_nothing_to_replace() -> None:
    front = SyntheticFront(3)
    space = LowRankSpace(front.space.layers, Flow((), ()), {})
    problem = FrontProblem(space, "accuracy_pct", "macs", 1.0)
    with pytest.raises(UserError, match="nothing to search"):
        EvolutionFront(problem, 0, 10)


def scouted(front: SyntheticFront, count: int) -> tuple[OptionCosts, tuple[LowRankNetwork, ...]]:
    """Return a front's networks, with costs: a third are a tenth cheaper by chance."""
    solved = walk(Knapsack(front.problem, 0, count, front.option_costs), front)
    archs = sorted([LowRankNetwork(), *(one.arch for one in solved)], key=front.space.macs)
    measured = {
        arch: front.space.macs(arch) * (0.9 if place % 3 == 2 else 1.0)
        for place, arch in enumerate(archs)
    }
    return dataclasses.replace(front.option_costs, measured=measured), tuple(archs[:-1])


@pytest.mark.parametrize("kind", [Knapsack, Greedy])
def test_what_was_scouted_is_asked_for_at_once(kind: type[Any]) -> None:
    front = SyntheticFront(12, known=False)
    costs, known = scouted(front, 60)
    asked = [one.arch for one in kind(front.problem, 0, 20, costs, known).ask(100)]
    assert len(asked) == 20
    assert set(asked) <= set(known)
    cheap = [costs.measured[arch] < front.space.macs(arch) for arch in asked]
    assert sum(cheap) > 15


def test_brp_knows_what_was_scouted() -> None:
    front = SyntheticFront(6, known=False)
    costs, known = scouted(front, 60)
    strategy = BRPFront(front.problem, 0, 30, linear, linear, 3, costs, known)
    first = [one.arch for one in strategy.ask(100) if one.origin == "knapsack"]
    assert set(first) <= set(known)
    found = strategy._costs(list(known), [front.space.graph(arch) for arch in known])
    assert found.tolist() == [costs.measured[arch] / front.problem.whole for arch in known]


def test_brp_does_not_drop_what_is_cheap_by_chance() -> None:
    front = SyntheticFront(6, known=False, span=(0.46, 0.5))
    costs, known = scouted(SyntheticFront(6, known=False), 60)
    strategy = BRPFront(front.problem, 0, 30, linear, linear, 3, costs, known)
    whole = front.problem.whole
    inside = {arch for arch in known if 0.46 <= costs.measured[arch] / whole <= 0.5}
    assert {arch for arch in inside if front.space.macs(arch) > 0.5 * whole}
    assert inside <= set(strategy._candidates())
