"""The loop of every search: ask, evaluate, tell, and keep it all in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from brpnas.errors import UserError, unknown_name
from brpnas.evaluate.evaluator import Evaluator
from brpnas.run import Run, Step
from brpnas.search.problem import Candidate, Observation
from brpnas.search.strategy import Strategy
from brpnas.spaces import Architecture

__all__ = ["Task", "search"]

A = TypeVar("A", bound=Architecture)
R = TypeVar("R", covariant=True)


class Task(Protocol[A, R]):
    """What is asked of a search: `Problem` (one best network) or `FrontProblem` (many)."""

    @property
    def metrics(self) -> Sequence[str]:
        """What a strategy is told of a network, by name: the objective is the first."""
        ...

    @property
    def size(self) -> int | None:
        """How many networks there are to choose from; None: more than any budget."""
        ...

    def observe(self, arch: A, metrics: Mapping[str, float]) -> Observation[A]:
        """Return what a strategy is told."""
        ...

    def conclude(self, seen: Sequence[Observation[A]], steps: Sequence[Step]) -> R:
        """Return what a search found; UserError if nothing."""
        ...


def search(
    problem: Task[A, R],
    strategy: Strategy[A],
    evaluator: Evaluator[A],
    budget: int,
    run: Run | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> R:
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
        What the problem makes of it: the best network, or the best of each cost.

    Raises:
        UserError: impossible budget, unknown metric, a trace that the strategy does not repeat,
            no network that keeps the limits (the trace is saved before).
    """
    if budget < 1 or (problem.size is not None and budget > problem.size):
        raise UserError(
            f"budget {budget} is out of range: there are {problem.size} networks to choose from, "
            "and at least 1 has to be evaluated"
        )
    for metric in problem.metrics:
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
            seen.append(problem.observe(candidate.arch, step.metrics))
            if progress:
                progress(len(seen), budget)
        strategy.tell(seen[told:])
    if next(recorded, None) is not None:
        raise _other_trace(f"it has more than the {len(seen)} networks of this search")
    if run:
        run.save()
    return problem.conclude(seen, steps)


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
            expected=candidate.expected,
        )
        if run:
            run.append(step)
        yield step


def _other_trace(difference: str) -> UserError:
    return UserError(
        f"the recorded trace is not the one of this search: {difference}; the code or its inputs "
        "changed since the run began, so start it anew in another folder"
    )
