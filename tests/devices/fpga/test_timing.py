from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brpnas.devices.fpga import read_platform
from brpnas.devices.fpga.foldings import Picked, Ways
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.devices.fpga.timing import Flow, PhysicalTiming

NETS = ("lenet", "resnet8")


@pytest.fixture(params=[(net, exact) for net in NETS for exact in (False, True)], ids=str)
def segment(request: pytest.FixtureRequest, shared: Path) -> Segment:
    net, exact = request.param
    network = read_onnx(shared / "fpga" / "nets" / f"{net}.onnx")
    problem = Problem(network, read_platform("zc706"), batch=1, reference_exact=exact)
    return Segment(problem, 0, len(network.nodes))


def drawn(segment: Segment, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(rng.integers(len(way))) for way in segment.ways]


def test_several_ways_side_by_side_are_as_each_alone(segment: Segment) -> None:
    for seed in range(5):
        choice, rng = drawn(segment, seed), np.random.default_rng(seed)
        at = int(rng.integers(len(choice)))
        rows = np.arange(len(segment.ways[at]))
        picked = segment.picked(choice)
        picked[at] = segment.ways[at].picked(rows)
        together = segment.timing.depth(picked, np.full(len(rows), 5000.0))
        queues = segment.queues(picked)
        for row in rows[::7].tolist():
            alone = segment.picked([*choice[:at], row, *choice[at + 1 :]])
            depth = segment.timing.depth(alone, 5000.0)
            assert np.broadcast_to(together, len(rows))[row] == pytest.approx(depth)
            for place, words in segment.queues(alone).items():
                assert np.broadcast_to(queues[place], len(rows))[row] == words


def test_changes_of_a_layer_are_foretold(segment: Segment) -> None:
    close, behind = [], []
    for seed in range(5):
        choice = drawn(segment, seed)
        picked = segment.picked(choice)
        now = max(float(one.latency) for one in picked)
        around = segment.timing.around(picked, now)
        assert around.now == segment.timing.depth(picked, now)
        for at, way in enumerate(segment.ways):
            interval = np.maximum(now, way.latency)
            told = np.broadcast_to(around.depth(at, way, interval), len(way))
            picked[at] = way
            true = np.broadcast_to(segment.timing.depth(picked, interval), len(way))
            picked[at] = way.picked(choice[at])
            if way.latency[choice[at]] <= now:
                assert told[choice[at]] == pytest.approx(around.now)
            if isinstance(segment.timing, PhysicalTiming):  # later words make no earlier ones
                assert (told <= true * (1 + 1e-9)).all()
            close.append(np.isclose(told, true, rtol=0.05).mean())
            cycles = interval + true
            behind.append(cycles[(interval + told).argmin()] / cycles.min())
    # Most within 5%; and the way that seems quickest is, or nearly.
    assert np.mean(close) > 0.8
    assert np.mean(behind) < 1.12


def way(latency: float, fill: float, window: float, words_in: float, words_out: float) -> Picked:
    return Ways(words_in, words_out, 1.0, 1.0, latency, 0.0, 0.0, fill, window)


def test_a_chain_by_hand() -> None:
    """An image comes in within 80 cycles; the last layer needs all of its words first."""
    rows = [way(100, 5, 0.2, 80, 50), way(60, 2, 0.1, 50, 50), way(40, 3, 0, 50, 10)]
    timing = PhysicalTiming(Flow([[], [0], [1]], [False, False, True], 0, 80.0))
    # The first keeps its own pace, of 100 cycles; the second that of what comes, of 80.
    first, second = (5 + 0.2 * 100, 100 + 5), (25 + 2 + 0.1 * 80, 25 + 80 + 2)
    assert timing.times(rows) == [first, second, (107 + 3, 110 + 10)]
    assert timing.depth(rows, 100.0) == 120 - 100
    assert timing.depth(rows, 200.0) == 120 * 2 - 200  # memory makes all twice as long
    slower = replace(rows[1], fill=12.0)
    assert timing.around(rows, 100.0).depth(1, slower, np.array([100.0])) == [30]


def test_words_that_wait_by_hand() -> None:
    """A short branch waits for a long one: 18 words come within 48 cycles, and 52 take them."""
    rows = [way(48, 0, 0, 18, 18), way(40, 4, 0.25, 18, 18), way(10, 0, 0, 18, 18)]
    timing = PhysicalTiming(Flow([[], [0], [0, 1]], [False] * 3, 0, 10.0))
    assert timing.times(rows)[:2] == [(0, 48), (4 + 0.25 * 48, 48 + 4)]
    # A third of the words are there when the first is taken, at 16.
    assert timing.waiting(rows, [2]) == {(2, 0): pytest.approx(18 / 3), (2, 1): 0}
