"""The loop of every search: ask, evaluate, tell, and keep it all in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from brpnas.errors import UserError, unknown_name
from brpnas.evaluate.evaluator import Evaluator
from brpnas.run import Run, Step
from brpnas.search.problem import Candidate, Observation, Problem
from brpnas.search.strategy import Strategy
from brpnas.spaces import Architecture

__all__ = ["SearchResult", "search"]

A = TypeVar("A", bound=Architecture)


@dataclass(frozen=True)
class SearchResult(Generic[A]):
    """What a search found.

    Attributes:
        best: the network with the largest measured objective among those that keep all limits;
            the first of them among equals.
        metrics: everything the evaluator says of it; NaN where missing.
        step: its row in the trace, from 0.
        evaluated: networks asked for.
        failed: how many of them have no objective.
    """

    best: A
    metrics: dict[str, float]
    step: int
    evaluated: int
    failed: int


def search(
    problem: Problem[A],
    strategy: Strategy[A],
    evaluator: Evaluator[A],
    budget: int,
    run: Run | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult[A]:
    """Ask a fresh strategy for networks and evaluate them until the budget is spent.

    If the run holds a trace already, the same strategy is asked again and answered from the
    trace, so that the search goes on where it was killed; the final trace is the one of an
    undisturbed search.

    Args:
        problem: what is searched.
        strategy: chooses; sees only the objective and the limited metrics.
        evaluator: finds all metrics of the trace; knows at least the problem's.
        budget: networks to evaluate, failed ones included.
        run: the folder that keeps the trace, or None to keep nothing.
        progress: called with (networks done, budget) after every network.

    Returns:
        The best network.

    Raises:
        UserError: impossible budget, unknown metric, a trace that the strategy does not repeat,
            no network that keeps the limits (the trace is saved before).
    """
    if not 1 <= budget <= len(problem.pool):
        raise UserError(
            f"budget {budget} is out of range: there are {len(problem.pool)} networks to choose "
            "from, and at least 1 has to be evaluated"
        )
    for metric in (problem.objective, *(limit.metric for limit in problem.constraints)):
        if metric not in evaluator.metrics:
            raise unknown_name("metric", metric, evaluator.metrics)
    steps: list[Step] = []
    seen: list[Observation[A]] = []
    recorded = iter(run.steps if run else ())
    while len(seen) < budget:
        asked = strategy.ask(budget - len(seen))
        if not asked:
            break
        told = len(seen)
        for candidate, step in zip(asked, _answer(asked, recorded, evaluator, run), strict=True):
            steps.append(step)
            seen.append(
                Observation(
                    candidate.arch,
                    step.metrics[problem.objective],
                    {limit.metric: step.metrics[limit.metric] for limit in problem.constraints},
                )
            )
            if progress:
                progress(len(seen), budget)
        strategy.tell(seen[told:])
    if next(recorded, None) is not None:
        raise _other_trace(f"it has more than the {len(seen)} networks of this search")
    if run:
        run.save()
    return _conclude(problem, seen, steps)


def _answer(
    asked: Sequence[Candidate[A]],
    recorded: Iterator[Step],
    evaluator: Evaluator[A],
    run: Run | None,
) -> Iterator[Step]:
    """Yield what becomes of each network asked for: from the trace as far as it goes."""
    new = 0
    for candidate, step in zip(asked, recorded, strict=False):
        want = (str(candidate.arch), candidate.origin, candidate.iteration)
        if want != (step.arch, step.origin, step.iteration):
            raise _other_trace(f"it holds {step.arch} ({step.origin}) where {want[0]} is next")
        if tuple(step.metrics) != evaluator.metrics:
            raise _other_trace(f"its metrics are {', '.join(step.metrics)}")
        new += 1
        yield step
    rest = asked[new:]
    if not rest:
        return
    evaluations = evaluator.evaluate([candidate.arch for candidate in rest])
    for candidate, evaluation in zip(rest, evaluations, strict=True):
        step = Step(
            iteration=candidate.iteration,
            origin=candidate.origin,
            arch=str(candidate.arch),
            metrics={name: evaluation.metrics.get(name, np.nan) for name in evaluator.metrics},
            error=evaluation.error,
        )
        if run:
            run.append(step)
        yield step


def _other_trace(difference: str) -> UserError:
    return UserError(
        f"the recorded trace is not the one of this search: {difference}; the code or its inputs "
        "changed since the run began, so start it anew in another folder"
    )


def _conclude(
    problem: Problem[A], seen: Sequence[Observation[A]], steps: Sequence[Step]
) -> SearchResult[A]:
    failed = sum(not np.isfinite(observation.objective) for observation in seen)
    if failed == len(seen):
        error = next((f": {step.error}" for step in steps if step.error), "")
        raise UserError(f"none of {len(seen)} networks has a value of {problem.objective}{error}")
    best = max(range(len(seen)), key=lambda place: problem.merit(seen[place]))
    if not problem.feasible(seen[best]):
        raise UserError(
            f"none of {len(seen)} networks keeps the limits: {_smallest(problem, seen)}"
        )
    return SearchResult(seen[best].arch, steps[best].metrics, best, len(seen), failed)


def _smallest(problem: Problem[A], seen: Sequence[Observation[A]]) -> str:
    parts = []
    for limit in problem.constraints:
        costs = [observation.costs[limit.metric] for observation in seen]
        known = [cost for cost in costs if np.isfinite(cost)]
        smallest = f"the smallest seen is {min(known):g}" if known else "no value is known"
        parts.append(f"{limit.metric} must be at most {limit.limit:g}, {smallest}")
    return "; ".join(parts)
