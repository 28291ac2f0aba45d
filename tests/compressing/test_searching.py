from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brpnas.compressing.costs import LatencySource
from brpnas.compressing.searching import Searched, SearchSettings, check_target, search_versions
from brpnas.compressing.subject import Progress, Subject
from brpnas.errors import UserError
from brpnas.evaluate.compressed import CompressedEvaluator
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.run import Run
from brpnas.search.fronts import FRONT_STRATEGIES
from brpnas.spaces.lowrank import LowRankNetwork, LowRankSpace


def _search(subject: Subject, folder: Path, bars: Progress, **settings: Any) -> Searched:
    asked = {"budget": 6, "iterations": 2, "predictor": "gp", **settings}
    with Run(folder, {}, seed=0) as run:
        return search_versions(subject, SearchSettings(**asked), None, run, bars)


@pytest.mark.parametrize("strategy", sorted(set(FRONT_STRATEGIES) - {"gradient"}))
def test_front_holds_what_the_evaluator_says(
    subject: Subject, tmp_path: Path, bars: Progress, strategy: str
) -> None:
    searched = _search(subject, tmp_path, bars, strategy=strategy)
    front = searched.front
    assert 1 <= len(front.members) <= front.evaluated <= 6
    assert searched.original["macs"] == subject.space.macs(subject.space.parse("dense"))
    assert searched.original["agreement_pct"] == 100
    macs = [member.metrics["macs"] for member in front.members]
    objective = [member.metrics["log_likelihood"] for member in front.members]
    assert macs == sorted(macs, reverse=True)
    assert objective == sorted(objective, reverse=True)
    assert macs[0] <= 0.9 * searched.original["macs"]
    member = front.members[0]  # of the last ones, some were given up early
    judge: CompressedEvaluator[Any] = CompressedEvaluator(
        subject.model,
        subject.layers,
        subject.factors,
        *subject.images.judged,
    )
    (again,) = judge.evaluate([member.arch])
    for name, value in again.metrics.items():
        assert member.metrics[name] == pytest.approx(value, abs=1e-6)


def test_gradient_trains_for_each_cost(subject: Subject, tmp_path: Path, bars: Progress) -> None:
    searched = _search(subject, tmp_path, bars, strategy="gradient", budget=2)
    assert searched.front.evaluated == 2
    shares = [one.metrics["macs"] / searched.original["macs"] for one in searched.front.members]
    assert shares[0] <= 0.9
    assert shares[-1] <= 0.3


def test_what_a_cheaper_network_beats_is_given_up_early(
    subject: Subject, tmp_path: Path, bars: Progress
) -> None:
    counted = _search(subject, tmp_path / "macs", bars, strategy="random", target=0.7)
    cheap = _search(subject, tmp_path / "known", bars, strategy="knapsack", target=0.92 * 0.7)
    best = cheap.front.members[0].metrics
    # The bound is what the best sum of damages at the least cost of the span is worth.
    assert counted.judge.stop_below == pytest.approx(best["log_likelihood"], rel=0.2)


def test_target_is_searched_closely(subject: Subject, tmp_path: Path, bars: Progress) -> None:
    searched = _search(subject, tmp_path, bars, strategy="knapsack", target=0.7)
    shares = np.array(
        [member.metrics["macs"] / searched.original["macs"] for member in searched.front.members]
    )
    assert shares.max() <= 0.7
    assert shares.min() >= 0.92 * 0.7


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_target_out_of_reach_says_the_closest(subject: Subject, cost: str) -> None:
    settings = SearchSettings(cost=cost, target=0.01)
    count = subject.space.macs if cost == "macs" else subject.space.params
    cheapest = subject.space.network(
        {name: min((o.choice for o in known), key=lambda c: count(subject.space.network({name: c})))
         for name, known in subject.space.options.items()}
    )  # fmt: skip
    closest = count(cheapest) / count(subject.space.parse("dense"))
    said = (
        f"--target 0.01 cannot be reached: the closest has {closest:.3g} of the original's {cost}"
    )
    with pytest.raises(UserError) as raised:
        check_target(subject, settings)
    assert str(raised.value) == said
    check_target(subject, SearchSettings(cost=cost, target=closest + 0.001))
    check_target(subject, SearchSettings(cost="latency", target=0.01))  # found out by the search


class _OnPaper(Evaluator[LowRankNetwork]):
    """A device that is computed: a version whose name's length is even is a tenth quicker."""

    metrics = ("latency_ms",)

    def __init__(self, space: LowRankSpace) -> None:
        self._space = space
        self.asked: list[LowRankNetwork] = []

    def evaluate(self, archs: Sequence[LowRankNetwork]) -> Iterator[Evaluation]:
        for arch in archs:
            self.asked.append(arch)
            quick = 1.0 - 0.1 * (len(str(arch)) % 2)
            yield Evaluation({"latency_ms": quick * self._space.macs(arch) / 1e6})


@pytest.mark.parametrize(
    ("strategy", "computed", "surveyed"),
    [
        ("knapsack", True, 40 + 5 * 6),
        ("brp", True, 40 + 5 * 6),
        ("random", True, 40),
        ("knapsack", False, 40),
    ],
)
def test_versions_are_computed_near_the_best(
    subject: Subject,
    tmp_path: Path,
    bars: Progress,
    strategy: str,
    computed: bool,
    surveyed: int,
) -> None:
    devices: list[_OnPaper] = []

    def evaluator(subject: Subject) -> _OnPaper:
        devices.append(_OnPaper(subject.space))
        return devices[-1]

    def propose(
        subject: Subject, count: int, span: tuple[float, float], _: object
    ) -> Sequence[LowRankNetwork]:
        assert (count, span) == (15, (0.3, 0.9))
        proposed.extend(subject.space.draw(4, np.random.default_rng(7)))
        return proposed

    proposed: list[LowRankNetwork] = []
    settings = SearchSettings(strategy, "gp", "latency", 6, 2)
    source = LatencySource(evaluator, {"name": "paper"}, propose if computed else None)
    with Run(tmp_path, {}, seed=0) as run:
        searched = search_versions(subject, settings, source, run, bars)
    (device,) = devices
    asked = [subject.space.parse(step.arch) for step in run.steps]
    assert len(device.asked) == 1 + surveyed + len(asked)
    assert device.asked[41 : 41 + len(proposed)] == proposed
    assert bool(proposed) == (surveyed > 40)
    known = [arch for arch in asked if arch in device.asked[: 1 + surveyed]]
    assert len(searched.surveyed) == surveyed - len(known)
    if strategy == "knapsack":
        assert len(known) == (len(asked) if computed else 0)


def test_latency_of_no_device_is_the_users_error(
    subject: Subject, tmp_path: Path, bars: Progress
) -> None:
    with pytest.raises(UserError, match="--cost latency needs --device"):
        _search(subject, tmp_path, bars, cost="latency")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "local"}, "unknown strategy 'local'"),
        ({"predictor": "oracle"}, "unknown predictor 'oracle'"),
        ({"cost": "watts"}, "unknown cost 'watts'. Choices: macs, params, latency"),
        ({"target": 0.0}, "--target 0: accepted is a share of the original's macs"),
        ({"target": 1.0}, "--target 1: accepted"),
        ({"target": float("nan")}, "--target nan: accepted"),
    ],
)
def test_settings_are_checked_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        SearchSettings(**settings)


def test_span_ends_at_the_target() -> None:
    assert SearchSettings(target=0.5).span == (pytest.approx(0.46), 0.5)
    assert SearchSettings().span[0] < SearchSettings().span[1] < 1


class _Constant(_OnPaper):
    """A device on which nothing saves more than a twentieth."""

    def evaluate(self, archs: Sequence[LowRankNetwork]) -> Iterator[Evaluation]:
        for arch in archs:
            yield Evaluation({"latency_ms": 0.95 if arch.replaced else 1.0})


def test_nothing_is_quick_enough(subject: Subject, tmp_path: Path, bars: Progress) -> None:
    def propose(subject: Subject, *_: object) -> Sequence[LowRankNetwork]:
        return subject.space.draw(4, np.random.default_rng(7))

    source = LatencySource(lambda subject: _Constant(subject.space), {"name": "paper"}, propose)
    said = r"no version has 0\.9 of the original's latency or less: the closest has 0\.95 of the "
    settings = SearchSettings("knapsack", "gp", "latency", 3)
    with (
        Run(tmp_path, {}, seed=0) as run,
        pytest.raises(UserError, match=said + r".*accepted: a --target above that"),
    ):
        search_versions(subject, settings, source, run, bars)
    with Run(tmp_path / "near", {}, seed=0) as run:
        near = SearchSettings("knapsack", "gp", "latency", 3, target=0.96)
        assert search_versions(subject, near, source, run, bars).front.evaluated == 3
