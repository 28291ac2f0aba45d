from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.predictors import Prediction
from brpnas.search import (
    BRPSchedule,
    BRPSearch,
    Candidate,
    Constraint,
    Observation,
    Problem,
    RandomSearch,
    Strategy,
    search,
)
from brpnas.search._cost_model import CostModel
from brpnas.spaces import Cell, Graph
from brpnas.testing import (
    LinearPredictor,
    StrategyContract,
    SyntheticEvaluator,
    synthetic_problem,
)


def linear(_: int) -> LinearPredictor:
    return LinearPredictor()


class TestBRPSearch(StrategyContract):
    def strategy(self, problem: Problem[Cell], seed: int, budget: int) -> Strategy[Cell]:
        return BRPSearch(problem, seed, linear, BRPSchedule(budget), linear)


class Counting(LinearPredictor):
    """Counts the fits and keeps what they were given."""

    fits: list[NDArray[np.float64]]

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        self.fits.append(values)
        return super().fit(graphs, values)


class Optimist(LinearPredictor):
    """Believes that every cost is two thirds of what it is."""

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        return super().fit(graphs, values / 1.5)


def walk(strategy: Strategy[Cell], portion: int = 1000) -> list[Candidate[Cell]]:
    trace: list[Candidate[Cell]] = []
    while asked := strategy.ask(portion):
        trace += asked
        evaluations = SyntheticEvaluator().evaluate([candidate.arch for candidate in asked])
        strategy.tell(
            [
                Observation(candidate.arch, found.metrics["accuracy_pct"], found.metrics)
                for candidate, found in zip(asked, evaluations, strict=True)
            ]
        )
    return trace


@pytest.mark.parametrize(
    ("schedule", "rounds"),
    [
        (BRPSchedule(100), [8] * 10 + [20]),
        (BRPSchedule(100, final=0), [10] * 10 + [0]),
        (BRPSchedule(50), [8, 4, 4, 4, 4, 4, 3, 3, 3, 3, 10]),
        (BRPSchedule(100, iterations=2, initial=50, final=0.1), [50, 40, 10]),
        (BRPSchedule(23, iterations=3, final=0), [8, 8, 7, 0]),
        (BRPSchedule(3), [3, *[0] * 10]),
        (BRPSchedule(1), [1, *[0] * 10]),
        (BRPSchedule(10, iterations=2), [8, 0, 2]),
        (BRPSchedule(10, iterations=1), [8, 2]),
        (BRPSchedule(10, initial=10), [10, *[0] * 10]),
    ],
)
def test_schedule_spends_the_budget(schedule: BRPSchedule, rounds: list[int]) -> None:
    assert schedule.rounds() == rounds
    assert sum(rounds) == schedule.budget


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 0},
        {"iterations": 0},
        {"initial": 0},
        {"initial": 11},
        {"top_share": 1.5},
        {"final": 1.0},
    ],
)
def test_impossible_schedule(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="must"):
        BRPSchedule(**{"budget": 10, **wrong})


def test_rounds_and_origins() -> None:
    trace = walk(BRPSearch(synthetic_problem(), 0, linear, BRPSchedule(50, iterations=5)))
    counts = Counter((candidate.iteration, candidate.origin) for candidate in trace)
    middle = {(i, origin): 4 for i in (1, 2, 3, 4) for origin in ("top", "explore")}
    assert counts == {(0, "random"): 8, **middle, (5, "final"): 10}


def test_small_portions_change_neither_trace_nor_number_of_fits() -> None:
    traces = []
    for portion in (1, 3, 1000):
        Counting.fits = []
        strategy = BRPSearch(
            synthetic_problem(), 0, lambda _: Counting(), BRPSchedule(50, iterations=5)
        )
        traces.append(walk(strategy, portion))
        assert [len(values) for values in Counting.fits] == [8, 16, 24, 32, 40]
    assert traces[0] == traces[1] == traces[2]


def test_explores_within_the_best_half_at_first() -> None:
    problem = synthetic_problem()
    strategy = BRPSearch(problem, 0, linear, BRPSchedule(40, iterations=2, final=0))
    trace = walk(strategy)
    known, asked = trace[:20], trace[20:]
    accuracies = [e.metrics["accuracy_pct"] for e in SyntheticEvaluator().evaluate(problem.pool)]
    value = dict(zip(problem.pool, accuracies, strict=True))
    graphs = {arch: problem.space.graph(arch) for arch in problem.pool}
    ranker = linear(0).fit(
        [graphs[c.arch] for c in known], np.array([value[c.arch] for c in known])
    )
    left = [arch for arch in problem.pool if arch not in {c.arch for c in known}]
    order = [left[i] for i in ranker.rank([graphs[arch] for arch in left])]
    assert [c.arch for c in asked if c.origin == "top"] == order[:10]
    assert {c.arch for c in asked if c.origin == "explore"} <= set(order[10 : len(left) // 2])
    scores = dict(zip(left, ranker.predict([graphs[arch] for arch in left]).mean, strict=True))
    assert [c.expected for c in asked] == [scores[c.arch] for c in asked]
    assert all(math.isnan(c.expected) for c in known)


def test_beats_random() -> None:
    problem = synthetic_problem(1000)
    evaluator = SyntheticEvaluator()
    for seed in range(5):
        brp = BRPSearch(problem, seed, linear, BRPSchedule(50))
        found = search(problem, brp, evaluator, 50).metrics["accuracy_pct"]
        baseline = search(problem, RandomSearch(problem, seed), evaluator, 50)
        assert found > baseline.metrics["accuracy_pct"]


def test_keeps_most_of_what_it_asks_for_within_the_limit() -> None:
    problem = synthetic_problem(1000, limit_ms=4.0)
    trace = walk(BRPSearch(problem, 0, linear, BRPSchedule(100), linear))
    evaluations = SyntheticEvaluator().evaluate([c.arch for c in trace])
    kept = [e.metrics["latency_ms"] <= 4.0 for e in evaluations]
    assert np.mean(kept[:16]) < 0.5
    assert np.mean(kept[16:]) > 0.7


def test_limit_nobody_is_expected_to_keep_is_approached() -> None:
    problem = synthetic_problem(1000, limit_ms=0.1)
    trace = walk(BRPSearch(problem, 0, linear, BRPSchedule(50, iterations=5), linear))
    costs = [
        e.metrics["latency_ms"] for e in SyntheticEvaluator().evaluate([c.arch for c in trace])
    ]
    assert np.mean(costs[10:]) < 0.6 * np.mean(costs[:10])


def test_limits_need_a_predictor() -> None:
    with pytest.raises(UserError, match="predictor of the limited metrics: latency_ms"):
        BRPSearch(synthetic_problem(limit_ms=4), 0, linear, BRPSchedule(10))


def cost_model(
    predictor: type[LinearPredictor], known: int, **changed: float
) -> tuple[CostModel, list[Graph], NDArray[np.float64]]:
    problem = synthetic_problem()
    graphs = [problem.space.graph(arch) for arch in problem.pool]
    found = SyntheticEvaluator().evaluate(problem.pool)
    costs = np.array([evaluation.metrics["latency_ms"] for evaluation in found])
    model = CostModel(Constraint("latency_ms", 5.0), lambda _: predictor(), len(graphs), 0.9)
    for place in range(known):
        model.tell(place, changed.get(f"at{place}", costs[place]))
    return model, graphs, costs


def test_margin_is_learned_from_held_out_then_from_honest_errors() -> None:
    model, graphs, costs = cost_model(Optimist, 60)
    rng = np.random.default_rng(0)

    def raised(places: NDArray[np.int64]) -> NDArray[np.float64]:
        """What is compared with the limit, over what is true, where it is beyond the limit."""
        excess = model.excess(graphs, places, rng)
        return 5.0 * (1 + excess[excess > 0]) / costs[places][excess > 0]

    assert 0.9 < np.median(raised(np.arange(60, 200))) < 1.2
    for place in range(60, 100):
        model.tell(place, costs[place])
    assert 0.95 < np.median(raised(np.arange(100, 200))) < 1.1
    excess = model.excess(graphs, np.arange(100, 200), rng)
    assert costs[100:][excess == 0].max() < 1.05 * 5.0
    assert np.mean(excess[costs[100:] < 4] == 0) > 0.8


class Unsure(LinearPredictor):
    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        return Prediction(super().predict(graphs).mean, np.full(len(graphs), 0.5))


def test_a_predictor_that_knows_its_error_says_how_far_to_keep_away() -> None:
    places, rng = np.arange(60, 200), np.random.default_rng(0)
    model, graphs, costs = cost_model(Unsure, 60)
    mean = LinearPredictor().fit(graphs[:60], costs[:60]).predict(graphs).mean[places]
    wanted = np.maximum((mean + 1.2816 * 0.5) / 5.0 - 1, 0)  # nine of ten lie below
    np.testing.assert_allclose(model.excess(graphs, places, rng), wanted, atol=1e-4)


def test_negative_costs_are_learnt_too() -> None:
    problem = synthetic_problem()
    graphs = [problem.space.graph(arch) for arch in problem.pool]
    gains = np.array([e.metrics["latency_ms"] for e in SyntheticEvaluator().evaluate(problem.pool)])
    model = CostModel(Constraint("loss", -5.0), lambda _: LinearPredictor(), len(graphs), 0.5)
    for place in range(60):
        model.tell(place, -gains[place])
    excess = model.excess(graphs, np.arange(60, 200), np.random.default_rng(0))
    assert np.mean((excess == 0) == (-gains[60:200] <= -5.0)) > 0.9


@pytest.mark.parametrize("quantile", [0.3, 1.0])
def test_a_quantile_out_of_range_is_the_users_error(quantile: float) -> None:
    with pytest.raises(UserError, match=r"from 0\.5 to below 1"):
        CostModel(Constraint("latency_ms", 5.0), linear, 10, quantile)


def test_empty_networks_and_missing_costs_are_left_out_of_the_fit() -> None:
    Counting.fits = []
    model, graphs, costs = cost_model(Counting, 60, at3=np.nan, at5=1e-3)
    model.excess(graphs, np.arange(60, 200), np.random.default_rng(0))
    assert sorted(Counting.fits[0]) == sorted(np.delete(costs[:60], [3, 5]))


@pytest.mark.parametrize("known", [0, 1])
def test_too_few_costs_exclude_nobody(known: int) -> None:
    model, graphs, _ = cost_model(LinearPredictor, known)
    assert not model.excess(graphs, np.arange(10, 200), np.random.default_rng(0)).any()


def test_round_without_a_fit_is_random_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    problem = synthetic_problem()
    strategy = BRPSearch(problem, 0, linear, BRPSchedule(20))
    while asked := strategy.ask(100):
        strategy.tell([Observation(candidate.arch, 50.0, {}) for candidate in asked])
        assert {candidate.origin for candidate in asked} == {"random"}
    assert "round 1 is random: a fit needs" in caplog.text


def test_one_writing_of_each_function_is_paid_for_while_others_are_left() -> None:
    space = synthetic_problem(10).space
    pool = space.sample(1500, np.random.default_rng(0))
    problem = Problem(space, pool, "accuracy_pct")
    budget = 200
    trace = walk(BRPSearch(problem, 1, linear, BRPSchedule(budget)))
    chosen = [space.canonical(each.arch) for each in trace if each.origin in ("top", "explore")]
    drawn = {space.canonical(each.arch) for each in trace if each.origin == "random"}
    assert len(chosen) > 100
    assert len(chosen) == len(set(chosen))
    assert not drawn & set(chosen)


def test_another_writing_is_tried_where_one_breaks_the_limit() -> None:
    space = synthetic_problem(10).space
    dead = ("none", "skip_connect", "nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1")
    same = [
        space.parse(f"|none~0|+|nor_conv_3x3~0|{a}~1|+|skip_connect~0|{b}~1|nor_conv_1x1~2|")
        for a in dead
        for b in dead
    ]
    assert len({space.canonical(arch) for arch in same}) == 1
    problem = Problem(space, same, "accuracy_pct", [Constraint("latency_ms", 1.0)])
    strategy = BRPSearch(problem, 0, linear, BRPSchedule(20, iterations=2), linear)
    (first, *_), costs = strategy.ask(100), {"latency_ms": 2.0}
    strategy.tell([Observation(first.arch, 50.0, costs)])
    places = np.arange(25)
    assert len(strategy._one_writing_each(places)) == 1
    strategy.tell([Observation(first.arch, 50.0, {"latency_ms": 0.5})])
    assert len(strategy._one_writing_each(places)) == 0
