"""Search the low-rank versions of a network, and finish what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from brpnas.compressing.costs import (
    LATENCY,
    LatencySource,
    Propose,
    counted_costs,
    priced_costs,
)
from brpnas.compressing.subject import Progress, Subject
from brpnas.errors import UserError
from brpnas.evaluate.compressed import CompressedEvaluator
from brpnas.evaluate.counted import CountingEvaluator
from brpnas.evaluate.evaluator import Evaluator
from brpnas.evaluate.joined import JoinedEvaluator
from brpnas.evaluate.spread import SpreadEvaluator
from brpnas.executors import Executor
from brpnas.lowrank import DENSE, Choice
from brpnas.lowrank.costs import Budget
from brpnas.lowrank.gradient import from_errors, train_supernet
from brpnas.lowrank.supernet import SuperNetwork
from brpnas.plugins import asks_for, call_with
from brpnas.predictors import PREDICTORS, Prediction, Predictor
from brpnas.resolver import resolve
from brpnas.run import Run
from brpnas.search import FrontProblem, FrontResult, Strategy, search
from brpnas.search.fronts import FRONT_STRATEGIES, Additive, OptionCosts, least_damage, scout
from brpnas.spaces import Graph, LowRankNetwork

__all__ = ["COSTS", "SearchSettings", "Searched", "check_target", "search_versions"]

COSTS = ("macs", "params", "latency")
_SPAN = (0.3, 0.9)
_NARROW = 0.92
"""Of the target: with one, networks between this share of it and it are searched."""
_SURVEY = 40
"""Random versions whose latency is measured, to price options."""
_SCOUTED = 5
"""Versions that are computed for each that is judged."""
_PROPOSED = 0.5
"""Share of them that is proposed; the others are scouted, in so many rounds."""
_ROUNDS = 4


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        strategy: a key of `FRONT_STRATEGIES`.
        predictor: a key of `PREDICTORS`: what ``brp`` learns with, and costs are predicted by.
        cost: one of `COSTS`.
        budget: versions to evaluate.
        iterations: rounds of ``brp``.
        target: greatest share of the original's cost, or None for the whole front.
        seed: of all random choices.
    """

    strategy: str = "brp"
    predictor: str = "gcn"
    cost: str = "macs"
    budget: int = 60
    iterations: int = 5
    target: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        resolve("strategy", self.strategy, FRONT_STRATEGIES)
        resolve("predictor", self.predictor, PREDICTORS)
        resolve("cost", self.cost, dict.fromkeys(COSTS))
        if self.target is not None and not 0 < self.target < 1:
            raise UserError(
                f"--target {self.target:g}: accepted is a share of the original's {self.cost}, "
                "above 0 and below 1"
            )

    @property
    def metric(self) -> str:
        """The cost's column."""
        return LATENCY if self.cost == "latency" else self.cost

    @property
    def span(self) -> tuple[float, float]:
        """Shares of the original's cost between which versions are searched."""
        return _SPAN if self.target is None else (_NARROW * self.target, self.target)


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search found.

    Attributes:
        front: versions that no other one beats.
        original: metrics of the network as it is.
        judge: what they were compared by.
        surveyed: latencies of further versions, which were found to predict others.
    """

    front: FrontResult[LowRankNetwork]
    original: dict[str, float]
    judge: CompressedEvaluator[LowRankNetwork]
    surveyed: Mapping[LowRankNetwork, float] = field(default_factory=dict)


def check_target(subject: Subject, settings: SearchSettings) -> None:
    """See to it that versions can be cheap enough; latency is not known before the search.

    Raises:
        UserError: none is; says the closest.
    """
    if settings.cost != "latency":
        costs = counted_costs(subject, settings.cost)
        whole = sum(float(one[0]) for one in costs.options.values()) + costs.fixed
        _check_reachable(Additive(_problem(subject, settings, whole), costs), settings)


def _problem(
    subject: Subject,
    settings: SearchSettings,
    whole: float,
    known: Callable[[LowRankNetwork], float] | None = None,
) -> FrontProblem[LowRankNetwork]:
    objective = "fidelity" if subject.images.labels is None else "log_likelihood"
    return FrontProblem(subject.space, objective, settings.metric, whole, settings.span, known)


def search_versions(
    subject: Subject,
    settings: SearchSettings,
    device: LatencySource | None,
    run: Run,
    bars: Progress,
    executor: Executor | None = None,
    workers: int | None = None,
) -> Searched:
    """Search, and keep the trace in a run.

    Args:
        subject: the network.
        settings: how.
        device: that latencies come from; needed if they are the cost, else they are reported.
        run: the folder of the trace.
        bars: shows progress.
        executor: compares versions with the original; None: in this process.
        workers: how many it has, if that is known.

    Raises:
        UserError: a latency without a device, a target out of reach.
    """
    if settings.cost == "latency" and device is None:
        raise UserError("--cost latency needs --device: latency on which device?")
    images, labels = subject.images.judged
    with_pairs = (subject.model, subject.layers, subject.factors)
    judge: CompressedEvaluator[LowRankNetwork] = CompressedEvaluator(*with_pairs, images, labels)
    comparing: Evaluator[LowRankNetwork] = judge
    if executor is not None:
        comparing = SpreadEvaluator(judge, *with_pairs, images, labels, executor, workers)
    parts = [comparing, CountingEvaluator(subject.space)]
    latencies = None if device is None else device.evaluator(subject)
    if latencies is not None:  # first: what is timed has the machine to itself
        parts.insert(0, latencies)
    evaluator = JoinedEvaluator(parts)
    dense = LowRankNetwork()
    (of_dense,) = evaluator.evaluate([dense])
    if of_dense.error:
        raise UserError(f"the network as it is: {of_dense.error}")
    original = of_dense.metrics
    whole = original[settings.metric]
    if settings.cost == "latency":
        problem = _problem(subject, settings, whole)
        assert device is not None and latencies is not None  # noqa: S101, PT018 - checked above
        scouts = asks_for(FRONT_STRATEGIES[settings.strategy], "scouted")
        propose = device.propose if scouts else None
        costs, scouted = _measured_costs(subject, settings, problem, latencies, propose, bars)
    else:
        known = subject.space.macs if settings.cost == "macs" else subject.space.params
        problem = _problem(subject, settings, whole, known)
        costs, scouted = counted_costs(subject, settings.cost), ()
    additive = Additive(problem, costs, scouted)
    _check_reachable(additive, settings)
    if problem.known is not None:
        judge.stop_below = _floor(judge, additive, settings.span[0])
    strategy = _strategy(subject, settings, problem, costs, scouted, run.folder)
    with bars("versions") as bar:
        front = search(problem, strategy, evaluator, settings.budget, run, bar)
    asked = {str(dense), *(step.arch for step in run.steps)}
    more = {arch: cost for arch, cost in costs.measured.items() if str(arch) not in asked}
    return Searched(front, original, judge, more)


def _floor(
    judge: CompressedEvaluator[LowRankNetwork], additive: Additive, least: float
) -> float | None:
    """Return the objective of a network that costs less than any in the span; None without one.

    What is worse is beaten by it: there is no need to know by how much.
    """
    cheap = least_damage(additive, least)[-1:]
    if additive.shares(cheap)[0] > least:
        return None
    (found,) = judge.evaluate(additive.archs(cheap))
    return None if found.error else found.metrics[judge.objective]


def _check_reachable(additive: Additive, settings: SearchSettings) -> None:
    cheapest = float(additive.shares(additive.costs.argmin(1)))
    share = min(additive.scouted.values(), default=cheapest)
    if share > settings.span[1]:
        asked = f"no version has {settings.span[1]:g} of the original's {settings.cost} or less"
        accepted = "; accepted: a --target above that"
        if settings.target is not None:
            asked, accepted = f"--target {settings.target:g} cannot be reached", ""
        guessed = settings.cost == "latency" and not additive.scouted
        has = "is predicted to have" if guessed else "has"
        raise UserError(
            f"{asked}: the closest {has} {share:.3g} of the original's {settings.cost}{accepted}"
        )


def _measured_costs(
    subject: Subject,
    settings: SearchSettings,
    problem: FrontProblem[LowRankNetwork],
    latencies: Evaluator[LowRankNetwork],
    propose: Propose | None,
    bars: Progress,
) -> tuple[OptionCosts, tuple[LowRankNetwork, ...]]:
    """Measure random versions, to price options; then what is proposed, and scout near the best.

    Returns:
        What is known of costs, and what was scouted.
    """
    drawn = subject.space.draw(_SURVEY, np.random.default_rng(settings.seed))
    measured = {LowRankNetwork(): problem.whole}
    with bars("latencies of versions") as bar:
        found = zip(drawn, _measuring(latencies, bar, _SURVEY)(drawn), strict=True)
        measured |= {arch: one for arch, one in found if np.isfinite(one)}
    costs = priced_costs(subject, measured)
    if propose is None:
        return costs, ()
    more = _SCOUTED * settings.budget
    with bars("ranks and foldings") as bar:
        proposed = propose(subject, round(_PROPOSED * more), settings.span, bar)
    first = [arch for arch in proposed if arch not in measured]
    parts = np.array_split(range(more - len(first)), _ROUNDS)
    sizes = [len(part) for part in parts if len(part)]
    with bars("latencies near the best") as bar:
        measure = _measuring(latencies, bar, more)
        scouted = scout(problem, costs, measure, first, sizes, settings.seed)
    return priced_costs(subject, measured | scouted), tuple(scouted)


def _measuring(
    latencies: Evaluator[LowRankNetwork], bar: Callable[[float, int], None], total: int
) -> Callable[[Sequence[LowRankNetwork]], Iterator[float]]:
    """Return what measures networks, NaN where that fails, and shows how many it did so far."""
    done = 0

    def measure(archs: Sequence[LowRankNetwork]) -> Iterator[float]:
        nonlocal done
        for one in latencies.evaluate(archs):
            done += 1
            bar(done, total)
            yield float("nan") if one.error else one.metrics[LATENCY]

    return measure


class _Surveyed(Predictor):
    """A predictor of costs that learns from the surveyed networks too."""

    def __init__(self, inner: Predictor, graphs: Sequence[Graph], costs: Sequence[float]) -> None:
        self._inner, self._graphs, self._costs = inner, list(graphs), list(costs)

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        """Learn from these networks and the surveyed ones."""
        self._inner.fit([*self._graphs, *graphs], np.concatenate([self._costs, values]))
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        """Return what the inner predictor says."""
        return self._inner.predict(graphs)


def _strategy(
    subject: Subject,
    settings: SearchSettings,
    problem: FrontProblem[LowRankNetwork],
    costs: OptionCosts,
    scouted: Sequence[LowRankNetwork],
    folder: Path,
) -> Strategy[LowRankNetwork]:
    """Make a strategy: its constructor gets what it asks for by the names of its parameters."""
    family = PREDICTORS[settings.predictor]
    kind = FRONT_STRATEGIES[settings.strategy]
    graphs = [subject.space.graph(arch) for arch in costs.measured]
    measured = list(costs.measured.values())
    offered: Mapping[str, Any] = {
        "budget": settings.budget,
        "iterations": settings.iterations,
        "ranker": family.ranker,
        "regressor": lambda seed: _Surveyed(family.regressor(seed), graphs, measured),
        "option_costs": costs,
        "scouted": scouted,
        "trainer": _trainer(subject, settings, problem, costs, folder),
    }
    make = cast(Callable[..., Strategy[LowRankNetwork]], kind)
    return call_with(make, problem, settings.seed, **offered)


def _trainer(
    subject: Subject,
    settings: SearchSettings,
    problem: FrontProblem[LowRankNetwork],
    costs: OptionCosts,
    folder: Path,
) -> Callable[[float], Mapping[str, Choice]]:
    """Return what trains the super-network for a share of the cost, each from the one before."""
    options = {
        name: [DENSE, *(option.choice for option in known[1:])]
        for name, known in subject.space.options.items()
    }
    damages = {
        name: np.array([option.damage for option in known])
        for name, known in subject.space.options.items()
    }
    # Of the size of the errors that the start's sharpness was chosen for.
    size = np.mean([option.error for known in subject.space.options.values() for option in known])
    scale = float(size / max(np.mean(np.concatenate([*damages.values()])), 1e-12))
    images, labels = subject.images.fitted
    additive = Additive(problem, costs)
    network: list[SuperNetwork] = []
    theta = [from_errors({name: (scale * one).tolist() for name, one in damages.items()})]

    def train(share: float) -> Mapping[str, Choice]:
        if not network:
            of_options = {name: values.tolist() for name, values in costs.options.items()}
            network.append(
                SuperNetwork(subject.model, subject.factors, options, of_options, costs.fixed)
            )
        found = train_supernet(
            network[0],
            images,
            labels,
            Budget(additive.sum_for(share) * problem.whole),
            seed=settings.seed,
            start=theta[0],
            folder=folder / "supernet",
        )
        theta[0] = dict(found.parameters)
        return found.choices

    return train
