"""Designs that are counted by hand, after the formulas of fpgaConvNet's model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from brpnas.devices.fpga import read_platform
from brpnas.devices.fpga.foldings import Words
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.many import Jury
from brpnas.devices.fpga.network import INPUT, Network, Node
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.platform import Platform
from brpnas.devices.fpga.problem import Problem
from brpnas.devices.fpga.squeezes import squeeze_costs

ZC706 = read_platform("zc706")
WINDOW: dict[str, int] = {
    **dict.fromkeys(("kernel_rows", "kernel_cols"), 3),
    **dict.fromkeys(("stride_rows", "stride_cols"), 1),
    **dict.fromkeys(("pad_top", "pad_right", "pad_bottom", "pad_left"), 1),
}
MAP = {"rows": 4, "cols": 4}


def convolution(name: str, before: str, channels: int, filters: int) -> Node:
    sizes = {**MAP, **WINDOW, "channels": channels, "filters": filters, "groups": 1, "has_bias": 0}
    return Node(name, "convolution", sizes, (before,), (4, 4, filters))


def simple(name: str, kind: str, channels: int, *before: str, **sizes: Any) -> Node:
    return Node(name, kind, {**MAP, "channels": channels, **sizes}, before, (4, 4, channels))


CHAIN = Network(
    "chain", (4, 4, 2), (convolution("conv", INPUT, 2, 4), simple("relu", "relu", 4, "conv"))
)
FOLDED: dict[str, Mapping[str, int]] = {
    "conv": {"coarse_in": 1, "coarse_out": 2, "coarse_group": 1, "fine": 3},
    "relu": {"coarse": 4},
}


def rows(segment: Segment, foldings: Mapping[str, Mapping[str, int]]) -> list[int]:
    """Return the row of each layer with a folding, all weights in block RAM."""
    found = []
    for layer, ways in zip(segment.nodes, segment.ways, strict=True):
        wanted = {**foldings[layer.name], "off_chip": 0, "uram": 0}
        found.append(next(row for row in range(len(ways)) if ways.row(row) == wanted))
    return found


def chain(exact: bool, platform: Platform = ZC706, batch: int = 10) -> Segment:
    problem = Problem(CHAIN, platform, batch=batch, reference_exact=exact)
    return Segment(problem, 0, 2)


def test_time_as_the_reference_counts_it() -> None:
    segment = chain(exact=True)
    costs = segment.judge(rows(segment, FOLDED))
    # 4 x 4 positions, each 2 x 9 / 3 turns for each of 4 / 2 filters.
    assert (costs.interval, costs.bound_by) == (192, "conv")
    # The convolution's 43 cycles at a sixth of a word a cycle; then 192 / 32 (convolution),
    # 192 / 32 x 32 / 16 (squeeze of 2 to 4 streams) and 192 / 16 x 32 / 16 (rectifier).
    assert costs.depth == 43 * 6 + 6 + 12 + 24
    assert costs.cycles == 192 * 10 + 300


def test_time_in_the_physical_mode() -> None:
    segment = chain(exact=False)
    costs = segment.judge(rows(segment, FOLDED))
    # Words arrive at the pace of the interval, so the last is there after it. From then on: 2
    # levels of the adder tree, 12 turns, a stream.
    assert costs.depth == pytest.approx(2 + 12 + 1)
    assert costs.cycles == 192 * 10 + 15


def test_resources_add_up() -> None:
    segment = chain(exact=False)
    choice = rows(segment, FOLDED)
    costs = segment.judge(choice)
    assert list(segment.squeezes(choice)) == [(0, 1, 2, 4)]
    # Weights: 12 words of 96 bits, so three blocks of 36 bits side by side; no window is so long.
    assert costs.resources[:2].tolist() == [6, 3]
    own = sum(ways.resources[row] for ways, row in zip(segment.ways, choice, strict=True))
    squeeze = squeeze_costs(2, 4, 16)
    assert squeeze[2] > 0
    np.testing.assert_array_equal(costs.resources, own + np.array(squeeze))


def test_waiting_for_memory() -> None:
    slow = replace(ZC706, memory_gbit_per_s=0.8)  # 4 bits in a cycle
    segment = chain(exact=True, platform=slow)
    costs = segment.judge(rows(segment, FOLDED))
    bits = (4 * 4 * 2 + 4 * 4 * 4) * 16
    assert (costs.interval, costs.compute_interval) == (bits / 4, 192)
    assert costs.bound_by == "memory"
    assert costs.gbit_per_s == pytest.approx(0.8)
    quick = chain(exact=True)
    assert quick.judge(rows(quick, FOLDED)).gbit_per_s == pytest.approx(bits / 192 * 0.2)


def test_weights_in_the_boards_memory_are_waited_for() -> None:
    layer = convolution("conv", INPUT, 64, 64)
    slow = replace(ZC706, memory_gbit_per_s=0.8)
    problem = Problem(Network("net", (4, 4, 64), (layer,)), slow)
    segment = Segment(problem, 0, 1)
    ways = segment.ways[0]
    row = int(ways.weight_bits.argmax())
    costs = segment.judge([row])
    assert costs.bound_by == "memory"
    assert costs.interval == math.ceil((ways.weight_bits[row] + 2 * 16 * 64 * 16) / 4)


def test_weights_that_are_loaded_again() -> None:
    segment = Segment(Problem(CHAIN, ZC706, batch=10, reference_exact=True), 0, 2, reloads=2)
    folding = {**FOLDED, "relu": {"coarse": 2}}
    costs = segment.judge(rows(segment, folding))
    # Two of the four filters at a time: half of the turns, at twice the rate, and no squeeze.
    assert costs.interval == 96
    assert costs.depth == 37 * 3 + 6 + 12
    assert costs.cycles == (96 * 10 + 129) * 2 + 2 * 2 * 9


@pytest.mark.parametrize("times", [3, 8])
def test_loads_that_do_not_divide_the_filters(times: int) -> None:
    with pytest.raises(ValueError, match="does not divide the filters of 'conv'"):
        Segment(Problem(CHAIN, ZC706), 0, 2, reloads=times)


def test_loading_the_board() -> None:
    exact, physical = (Problem(CHAIN, ZC706, reference_exact=mode) for mode in (True, False))
    assert exact.seconds([2e6]) == physical.seconds([2e6]) == 0.01
    assert physical.seconds([2e6, 4e6]) == pytest.approx(0.03 + 0.08255)
    assert exact.seconds([2e6, 4e6]) == pytest.approx(0.03 + 2 * 0.08255)


def test_ports() -> None:
    """A word in and a word out in a cycle: 32 in, 64 out."""
    narrow = replace(ZC706, port_width=16)
    segment = chain(exact=False, platform=narrow)
    wide = {
        "conv": {"coarse_in": 2, "coarse_out": 4, "coarse_group": 1, "fine": 9},
        "relu": {"coarse": 4},
    }
    choice = rows(segment, wide)
    assert list(segment.squeezes(choice)) == [(-1, 0, 1, 2), (1, -1, 4, 1)]
    costs = segment.judge(choice)
    assert (costs.interval, costs.bound_by) == (64, "output")
    assert segment.port_interval == 64


BRANCHES = Network(
    "branches",
    (4, 4, 2),
    (
        simple("split", "split", 2, INPUT, ports_out=2),
        convolution("conv", "split", 2, 2),
        simple("add", "eltwise", 2, "split", "conv", ports_in=2, op_type="add", broadcast=0),
    ),
)


@pytest.mark.parametrize(("exact", "words"), [(True, 40), (False, 32)])
def test_queues_where_branches_meet(exact: bool, words: int) -> None:
    segment = Segment(Problem(BRANCHES, ZC706, reference_exact=exact), 0, 3)
    folding: dict[str, Mapping[str, int]] = {
        "split": {"coarse": 1},
        "conv": {"coarse_in": 1, "coarse_out": 1, "coarse_group": 1, "fine": 9},
        "add": {"coarse": 1},
    }
    choice = rows(segment, folding)
    # As the reference counts: 37 + 72 x 32 / (32 x 32), rounded up. Physically all words of a map:
    # they come within 32 cycles, and the convolution's first after 14 of 36 words of the padded
    # map at 72 cycles for all, and 9 cycles of computing.
    assert segment.buffers(choice) == {(2, 0): words + 64, (2, 1): 64}
    own = sum(ways.resources[row] for ways, row in zip(segment.ways, choice, strict=True))
    queues = segment.judge(choice).resources - own
    assert queues.tolist() == [0, 1, 0, 0, 0]  # 64 words of 16 bits are no block


def test_what_comes_from_memory_can_wait_there() -> None:
    segment = Segment(Problem(BRANCHES, ZC706), 1, 3)
    assert segment.sources == [0, 1]
    assert segment.buffers([0, 0]) == {(1, 0): 2}


def test_luts_for_block_ram() -> None:
    problem = Problem(CHAIN, ZC706)
    needs = problem.needs(np.array([10.0, 1100, 1000, 2000, 0]))
    np.testing.assert_allclose(needs, [10, 1090, 1000 * 1.05 + 10 * 288, 2000 * 1.05, 0])
    assert problem.needs(np.array([10.0, 1000, 1000, 2000, 0]))[1] == 1000


def test_margin_and_words() -> None:
    problem = Problem(CHAIN, ZC706, words=Words(8, 8, 24), margin=0.1)
    np.testing.assert_allclose(problem.limits, [810, 981, 196740, 393480, 0])
    assert problem.bits_per_cycle == pytest.approx(512 * 0.9)
    assert problem.port_streams == 16
    segment = Segment(problem, 0, 2)
    assert segment.judge(rows(segment, FOLDED)).resources[0] == 3  # two products in a slice


class Branching(nn.Module):
    """Branches that are put behind each other and multiplied, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(16, 4, 3, stride=2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one, other = self.one(x), self.other(x)
        return self.last(torch.cat([one, other], 1)), torch.relu(one * other)


def branching(_: Path) -> Network:
    return network_of(Branching(), torch.zeros(1, 4, 9, 9))


def from_file(name: str) -> Callable[[Path], Network]:
    return lambda shared: read_onnx(shared / "fpga" / "nets" / f"{name}.onnx")


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("read", [branching, from_file("lenet"), from_file("resnet8")])
def test_many_at_once(read: Callable[[Path], Network], exact: bool, shared: Path) -> None:
    network = read(shared)
    problem = Problem(network, read_platform("zedboard"), reference_exact=exact)
    rng = np.random.default_rng(0)
    count = len(network.nodes)
    fitting = 0
    for start, stop, reloads in ((0, count, 1), (count // 2, count, 1), (0, 1, 1)):
        segment = Segment(problem, start, stop, reloads)
        choices = np.stack([rng.integers(0, len(ways), 40) for ways in segment.ways], axis=1)
        costs = Jury(segment).judge(choices)
        for at, choice in enumerate(choices.tolist()):
            one = segment.judge(choice)
            assert costs.interval[at] == one.interval
            assert costs.depth[at] == pytest.approx(one.depth)
            assert costs.cycles[at] == one.cycles
            np.testing.assert_allclose(costs.resources[at], one.resources)
            assert costs.fits[at] == segment.fits(one)
            fitting += segment.fits(one)
    assert 0 < fitting < 120


def test_a_squeeze_may_be_the_slowest() -> None:
    """In the reference's count a global pool hands on a whole map in a few cycles."""
    sizes = {"rows": 8, "cols": 8}
    window = {"kernel_rows": 1, "kernel_cols": 1, "stride_rows": 1, "stride_cols": 1}
    pads = dict.fromkeys(("pad_top", "pad_right", "pad_bottom", "pad_left"), 0)
    conv = {**sizes, **window, **pads, "channels": 4, "filters": 32, "groups": 1, "has_bias": 0}
    nodes = (
        Node("conv", "convolution", conv, (INPUT,), (8, 8, 32)),
        Node("pool", "global_pool", {**sizes, "channels": 32}, ("conv",), (1, 1, 32)),
    )
    problem = Problem(Network("n", (8, 8, 4), nodes), read_platform("zc706"), reference_exact=True)
    segment = Segment(problem, 0, 2)
    conv_ways, pool_ways = segment.ways
    wide = int(((conv_ways.streams_in == 4) & (conv_ways.streams_out == 32)).argmax())
    narrow = int((pool_ways.streams_in == 4).argmax())
    costs = segment.judge([wide, narrow])
    assert costs.interval == 8 * 8 * 32 / 4 > conv_ways.latency[wide]
    assert Jury(segment).judge(np.array([[wide, narrow]])).interval == costs.interval
