from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brpnas.compressing.costs import check_device, counted_costs, open_device, priced_costs
from brpnas.compressing.subject import Subject
from brpnas.devices.fpga.device import open_fpga
from brpnas.devices.fpga.from_torch import network_of
from brpnas.errors import UserError
from brpnas.spaces import LowRankNetwork


def _sum(options: dict[str, NDArray[np.float64]], fixed: float, places: dict[str, int]) -> float:
    return fixed + sum(float(of[places[name]]) for name, of in options.items())


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_counted_costs_add_up_to_those_of_the_network(subject: Subject, cost: str) -> None:
    space = subject.space
    costs = counted_costs(subject, cost)
    options, fixed = costs.options, costs.fixed
    count = space.macs if cost == "macs" else space.params
    assert fixed >= 0
    for arch in [LowRankNetwork(), *space.sample(10, np.random.default_rng(0))]:
        places = {
            name: [one.choice for one in known].index(arch.choices.get(name, known[0].choice))
            for name, known in space.options.items()
        }
        assert _sum(options, fixed, places) == pytest.approx(count(arch), rel=1e-12)
    assert all(float(of.min()) >= 0 for of in options.values())


def test_prices_are_learnt_from_a_few_networks(subject: Subject) -> None:
    space = subject.space
    rng = np.random.default_rng(0)

    def latency(arch: LowRankNetwork) -> float:
        """Return microseconds: half a one for each thousand operations, thirty for each pair."""
        return 50 + space.macs(arch) / 2000 + 30 * len(arch.choices) + rng.normal(0, 3)

    measured = {arch: latency(arch) for arch in [LowRankNetwork(), *space.draw(40, rng)]}
    costs = priced_costs(subject, measured)
    assert costs.measured == measured
    whole = measured[LowRankNetwork()]
    assert costs.fixed + sum(of[0] for of in costs.options.values()) == pytest.approx(whole)
    for name, of in costs.options.items():
        assert of.min() >= 0
        for option, cost in zip(space.options[name][1:], of[1:], strict=True):
            saved = space.layers[name].macs - option.choice.macs(space.layers[name])
            assert of[0] - cost == pytest.approx(saved / 2000 - 30, abs=0.1 * whole)


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
