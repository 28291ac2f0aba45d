from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from brpnas.errors import UserError
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.run import Step
from brpnas.search import Candidate, FrontProblem, Observation, Strategy, on_front, search
from brpnas.spaces import Graph, GraphSchema, Space

NAN = float("nan")


class _Words(Space[str]):
    """Words: what they are worth is given with each test."""

    name = "words"
    schema = GraphSchema("words", ("word",), ())

    def parse(self, text: str) -> str:
        return text

    def sample(self, n: int, rng: np.random.Generator) -> list[str]:
        return [str(place) for place in rng.permutation(n)]

    def graph(self, arch: str) -> Graph:
        raise UserError(f"no graph of {arch}")


class _Given(Strategy[str]):
    """Asks for these, two at a time."""

    def __init__(self, archs: Sequence[str]) -> None:
        self.left = [Candidate(arch, "given", 0) for arch in archs]
        self.told: list[Observation[str]] = []

    def ask(self, n: int) -> list[Candidate[str]]:
        asked, self.left = self.left[: min(n, 2)], self.left[min(n, 2) :]
        return asked

    def tell(self, observations: Sequence[Observation[str]]) -> None:
        self.told += observations


class _Known(Evaluator[str]):
    metrics = ("fidelity", "macs", "size")

    def __init__(self, values: dict[str, tuple[float, float]]) -> None:
        self._values = values

    def evaluate(self, archs: Sequence[str]) -> Iterator[Evaluation]:
        for arch in archs:
            fidelity, macs = self._values[arch]
            metrics = {"fidelity": fidelity, "macs": macs, "size": len(arch)}
            yield Evaluation(metrics, None if np.isfinite(fidelity) else "it broke")


VALUES = {
    "whole": (0.0, 100.0),  # beyond the span
    "dear": (-1.0, 90.0),
    "worse": (-2.0, 90.0),
    "cheap": (-3.0, 50.0),
    "beaten": (-4.0, 60.0),
    "broken": (NAN, 40.0),
    "unknown": (-0.5, NAN),
    "least": (-9.0, 10.0),  # below the span: nobody minds
}


def _problem(span: tuple[float, float] = (0.2, 0.9), **more: Any) -> FrontProblem[str]:
    return FrontProblem(_Words(), "fidelity", "macs", 100.0, span, **more)


def test_search_finds_the_front_the_dearest_first() -> None:
    strategy = _Given([*VALUES])
    found = search(_problem(), strategy, _Known(VALUES), 20)
    assert [(member.arch, member.step) for member in found.members] == [
        ("dear", 1), ("cheap", 3), ("least", 7)
    ]  # fmt: skip
    assert found.members[1].metrics == {"fidelity": -3.0, "macs": 50.0, "size": 5.0}
    assert (found.evaluated, found.failed) == (8, 1)
    assert [one.arch for one in strategy.told] == [*VALUES]
    assert strategy.told[3] == Observation("cheap", -3.0, {"macs": 50.0})


@pytest.mark.parametrize(
    ("archs", "said"),
    [
        (["whole"], "none of 1 networks has at most 90% of the original's macs: the closest has "
                    "100%"),
        (["broken"], "none of 1 networks has a value of fidelity: it broke"),
        (["unknown", "broken"], "none of 2 networks has a value of macs"),
    ],
)  # fmt: skip
def test_no_front_is_the_users_error(archs: list[str], said: str) -> None:
    with pytest.raises(UserError) as raised:
        search(_problem(), _Given(archs), _Known(VALUES), 20)
    assert str(raised.value) == said


def test_front_ends_at_the_span_but_for_rounding() -> None:
    problem = _problem((0.1, 0.3))
    seen = [problem.observe(str(macs), {"fidelity": macs, "macs": macs})
            for macs in (30.0 * (1 + 1e-12), 30.1)]  # fmt: skip
    steps = [Step(0, "given", one.arch, {}) for one in seen]
    assert len(problem.conclude(seen, steps).members) == 1


def test_shares_are_of_the_whole() -> None:
    problem = _problem(known=lambda arch: 10.0 * len(arch))
    assert problem.metrics == ("fidelity", "macs")
    assert problem.size is None
    assert problem.known_shares(["ab", "c"]) == pytest.approx([0.2, 0.1])
    assert problem.share(Observation("ab", 0.0, {"macs": 25.0})) == 0.25
    assert np.isnan(problem.share(Observation("ab", 0.0, {"macs": NAN})))


@pytest.mark.parametrize("span", [(0.5, 0.5), (0.9, 0.2), (-0.1, 0.5)])
def test_empty_span_is_the_users_error(span: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"shares of macs from .*: there are none"):
        _problem(span)


def test_unknown_cost_and_empty_budget_are_the_users_errors() -> None:
    problem = FrontProblem(_Words(), "fidelity", "latency_ms", 1.0)
    with pytest.raises(UserError, match="unknown metric 'latency_ms'"):
        search(problem, _Given(["dear"]), _Known(VALUES), 1)
    with pytest.raises(UserError, match="budget 0 is out of range"):
        search(_problem(), _Given(["dear"]), _Known(VALUES), 0)


@pytest.mark.parametrize("seed", range(20))
def test_front_is_what_none_beats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, values = rng.integers(0, 6, (2, rng.integers(0, 25))).astype(float)
    on = on_front(costs, values)
    assert on.shape == costs.shape
    for i in range(len(costs)):
        beaten = (costs <= costs[i]) & (values >= values[i])
        better = beaten & ((costs < costs[i]) | (values > values[i]))
        earlier = beaten & ~better & (np.arange(len(costs)) < i)  # of equals, the first
        assert on[i] == (not better.any() and not earlier.any())
