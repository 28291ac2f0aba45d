from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from brpnas.compressing.costs import additive_costs, check_device, counted_costs, open_device
from brpnas.compressing.subject import Subject
from brpnas.devices.fpga.device import open_fpga
from brpnas.devices.fpga.from_torch import network_of
from brpnas.errors import UserError
from brpnas.predictors import Prediction, Predictor
from brpnas.spaces import Graph, LowRankNetwork


def _sum(options: dict[str, NDArray[np.float64]], fixed: float, places: dict[str, int]) -> float:
    return fixed + sum(float(of[places[name]]) for name, of in options.items())


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_counted_costs_add_up_to_those_of_the_network(subject: Subject, cost: str) -> None:
    space = subject.space
    options, fixed = counted_costs(subject, cost)
    count = space.macs if cost == "macs" else space.params
    assert fixed >= 0
    for arch in [LowRankNetwork(), *space.sample(10, np.random.default_rng(0))]:
        places = {
            name: [one.choice for one in known].index(arch.choices.get(name, known[0].choice))
            for name, known in space.options.items()
        }
        assert _sum(options, fixed, places) == pytest.approx(count(arch), rel=1e-12)
    assert all(float(of.min()) >= 0 for of in options.values())


class _Half(Predictor):
    """Says half of the logarithm's worth of multiply-accumulates, added up."""

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:  # noqa: ARG002
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        column = graphs[0].schema.numbers.index("log_macs")
        macs = np.array([np.expm1(g.numbers[:, column].astype(float)).sum() for g in graphs])
        return Prediction(macs / 2, None)


def test_predicted_costs_are_scaled_to_what_is_known(subject: Subject) -> None:
    whole = subject.space.macs(LowRankNetwork()) * 3.0
    options, fixed = additive_costs(subject, _Half(), whole)
    exact, _ = counted_costs(subject, "macs")
    assert fixed + sum(of[0] for of in options.values()) == pytest.approx(whole)
    for name, of in options.items():
        saved = 3 * (exact[name][0] - exact[name])  # nothing else has costs in this network
        assert of[0] - of == pytest.approx(saved, rel=1e-3, abs=whole * 1e-5)


class _Unknown(_Half):
    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        mean = super().predict(graphs).mean
        mean[-1] = np.nan
        return Prediction(mean, None)


def test_costs_that_are_not_known_are_the_users_error(subject: Subject) -> None:
    with pytest.raises(UserError, match="the costs of some options are not known"):
        additive_costs(subject, _Unknown(), 1.0)


def test_fpga_tells_what_the_mapper_says_of_the_network_built(
    subject: Subject, tmp_path: Path
) -> None:
    small = subject.space.network(
        {name: known[1].choice for name, known in subject.space.options.items()}
    )
    said: list[Any] = []
    with ExitStack() as stack:
        device = open_device("fpga:zc706", tmp_path, stack, said.append)
        evaluator = device.evaluator(subject)
        assert evaluator.metrics == ("latency_ms",)
        found = list(evaluator.evaluate([LowRankNetwork(), small]))
    board = open_fpga("fpga:zc706")
    assert device.identity == board.identity()
    x = subject.images.calibration[:1]
    for arch, one in zip((LowRankNetwork(), small), found, strict=True):
        mapped = board.map(network_of(subject.build(arch), x, str(arch)))
        assert one.error is None
        assert one.metrics["latency_ms"] == pytest.approx(mapped.seconds * 1000)
    assert found[1].metrics["latency_ms"] < found[0].metrics["latency_ms"]


def test_devices_are_known_before_they_are_opened() -> None:
    assert check_device("local")
    assert not check_device("fpga:zc706")
    for name in ("nowhere", "fpga:nowhere"):
        with pytest.raises(UserError, match="nowhere"):
            check_device(name)
