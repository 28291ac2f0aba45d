"""Versions of digits-cnn, compared by two workers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from deadly import Deadly
from torch import Tensor, nn

from brpnas.evaluate.compressed import CompressedEvaluator
from brpnas.evaluate.digits_cnn import digits_image_sets
from brpnas.evaluate.spread import SpreadEvaluator
from brpnas.executors import Executor, Processes
from brpnas.lowrank import Choice, Factors, find_layers
from brpnas.models import load_model
from brpnas.spaces import LowRankNetwork


def _version(**choices: str) -> LowRankNetwork:
    return LowRankNetwork(tuple((n.replace("_", "."), Choice.parse(c)) for n, c in choices.items()))


Both = tuple[CompressedEvaluator[LowRankNetwork], SpreadEvaluator[LowRankNetwork]]
AS_IT_IS = LowRankNetwork()
MILD = _version(features_6="separable:r40")
STRONG = _version(features_6="separable:r4", features_9="output:g1:r3")


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with Processes(2) as made:
        yield made


def _evaluators(executor: Executor, model: nn.Module, x: Tensor, y: Tensor) -> Both:
    layers = find_layers(model, x[:1])
    known = (model, layers, Factors(model, layers, "plain"))
    judge: CompressedEvaluator[LowRankNetwork] = CompressedEvaluator(*known, x, y)
    return judge, SpreadEvaluator(judge, *known, x, y, executor, 2)


@pytest.fixture(scope="module")
def both(
    executor: Executor,
) -> Both:
    loaded = load_model("digits-cnn", None)
    images = digits_image_sets()[0].sample(192, 0)
    assert images.y is not None
    x = images.tensor(loaded.normalisation)
    return _evaluators(executor, loaded.module, x, torch.from_numpy(images.y))


def test_metrics_are_those_of_one_process(both: Any) -> None:
    judge, spread = both
    assert spread.metrics == judge.metrics
    versions = [MILD, AS_IT_IS, STRONG, MILD, STRONG]
    for found, expected in zip(spread.evaluate(versions), judge.evaluate(versions), strict=True):
        assert found == expected
    assert list(spread.evaluate([])) == []


def test_workers_know_what_is_hopeless(both: Any) -> None:
    judge, spread = both
    judge.stop_below = judge.original["log_likelihood"] - 0.05
    try:
        (found,), (expected,) = (one.evaluate([STRONG]) for one in (spread, judge))
    finally:
        judge.stop_below = None
    assert found == expected
    (whole,) = spread.evaluate([STRONG])
    assert whole != found  # of all images


def test_what_kills_a_worker_fails_alone(executor: Executor) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(64, 4)).astype(np.float32))
    _, spread = _evaluators(executor, Deadly(), x, torch.zeros(64, dtype=torch.int64))
    mild, deadly = _version(first="plain:r1"), _version(then="plain:r1")
    found = list(spread.evaluate([mild, deadly, AS_IT_IS, mild]))
    assert [one.error is None for one in found] == [True, False, True, True]
    assert str(found[1].error).startswith("worker process died")
    assert math.isnan(found[1].metrics["fidelity"])
    assert found[0] == found[3]
