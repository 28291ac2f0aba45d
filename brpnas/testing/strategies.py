"""The contract of a search strategy, as tests."""
# ruff: noqa: S101 - asserts are what a test is made of

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from brpnas.search.loop import search
from brpnas.search.problem import Candidate, Observation, Problem
from brpnas.search.strategy import Strategy
from brpnas.spaces import Cell
from brpnas.testing.seeded import SeededContract
from brpnas.testing.synthetic import SyntheticEvaluator, synthetic_problem

__all__ = ["StrategyContract"]


class StrategyContract(SeededContract):
    """What every strategy has to do. To test one, subclass and override ``strategy``.

    The subclass lives at the top level of its module and its constructor takes nothing, so that
    another process can make it. Where the seed decides nothing, it sets ``random`` to False.
    """

    def strategy(self, problem: Problem[Cell], seed: int, budget: int) -> Strategy[Cell]:
        """Return a fresh strategy that can be asked for ``budget`` networks."""
        raise NotImplementedError

    @pytest.mark.parametrize("n", [1, 7, 1000])
    def test_asks_for_the_whole_pool_at_most_n_at_a_time_never_twice(self, n: int) -> None:
        """Every network of the pool is asked for once, then nothing."""
        problem = synthetic_problem(60)
        strategy = self.strategy(problem, seed=1, budget=60)
        asked: list[Cell] = []
        while batch := strategy.ask(n):
            assert len(batch) <= n
            asked += [candidate.arch for candidate in batch]
            strategy.tell(_answers(batch, SyntheticEvaluator()))
        assert len(asked) == 60
        assert set(asked) == set(problem.pool)
        assert strategy.ask(1) == []

    def test_asks_for_the_whole_pool_without_being_told(self) -> None:
        """A caller that tells late is served nevertheless."""
        strategy = self.strategy(synthetic_problem(30), seed=1, budget=30)
        asked: list[Cell] = []
        while batch := strategy.ask(4):
            asked += [candidate.arch for candidate in batch]
        assert len(asked) == len(set(asked)) == 30

    def test_tells_in_portions(self) -> None:
        """Results may be told one by one."""
        assert self._trace(seed=5, portion=1) == self._trace(seed=5)

    @pytest.mark.parametrize("failing", [0.5, 1.0])
    def test_survives_failed_evaluations(self, failing: float) -> None:
        """Missing metrics neither stop the strategy nor count as good."""
        trace = self._trace(seed=6, evaluator=SyntheticEvaluator(failing))
        assert len({arch for arch, _, _ in trace}) == 50

    def test_answer_keeps_the_limit(self) -> None:
        """The best is within the limit although better networks are not."""
        problem = synthetic_problem(150, limit_ms=4.0)
        evaluator = SyntheticEvaluator()
        result = search(problem, self.strategy(problem, 7, 60), evaluator, 60)
        assert result.metrics["latency_ms"] <= 4.0
        assert (
            max(e.metrics["accuracy_pct"] for e in evaluator.evaluate(problem.pool))
            > (result.metrics["accuracy_pct"])
        )

    def test_spends_the_budget(self) -> None:
        """As many networks are evaluated as were paid for."""
        problem = synthetic_problem(100)
        for budget in (1, 2, 13, 100):
            evaluator = SyntheticEvaluator()
            result = search(problem, self.strategy(problem, 8, budget), evaluator, budget)
            assert result.evaluated == evaluator.evaluated == budget

    def _trace(
        self, seed: int, portion: int = 1000, evaluator: SyntheticEvaluator | None = None
    ) -> list[list[object]]:
        strategy = self.strategy(synthetic_problem(limit_ms=6.0), seed, 50)
        trace: list[list[object]] = []
        while len(trace) < 50:
            batch = strategy.ask(min(6, 50 - len(trace)))
            answers = _answers(batch, evaluator or SyntheticEvaluator())
            for start in range(0, len(answers), portion):
                strategy.tell(answers[start : start + portion])
            trace += [[str(c.arch), c.origin, c.iteration] for c in batch]
        return trace


def _answers(
    asked: Sequence[Candidate[Cell]], evaluator: SyntheticEvaluator
) -> list[Observation[Cell]]:
    archs = [candidate.arch for candidate in asked]
    found = [evaluation.metrics for evaluation in evaluator.evaluate(archs)]
    return [
        Observation(
            arch,
            metrics.get("accuracy_pct", np.nan),
            {"latency_ms": metrics.get("latency_ms", np.nan)},
        )
        for arch, metrics in zip(archs, found, strict=True)
    ]
