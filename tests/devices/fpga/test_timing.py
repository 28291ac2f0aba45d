from pathlib import Path

import numpy as np
import pytest

from brpnas.devices.fpga import read_network, read_platform
from brpnas.devices.fpga.partition import Problem, Segment

NETS = ("lenet", "resnet8")


@pytest.fixture(params=[(net, exact) for net in NETS for exact in (False, True)], ids=str)
def segment(request: pytest.FixtureRequest, shared: Path) -> Segment:
    net, exact = request.param
    network = read_network(shared / "fpga" / "nets" / f"{net}.onnx")
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


def test_most_changes_are_foretold_within_5_percent(segment: Segment) -> None:
    for seed in range(5):
        choice = drawn(segment, seed)
        picked = segment.picked(choice)
        interval = max(float(one.latency) for one in picked)
        now = float(segment.timing.depth(picked, interval))
        around = segment.timing.around(picked, interval)
        close = 0
        for at, way in enumerate(segment.ways):
            rows = np.arange(len(way))
            ways = way.picked(rows)
            told = around.depth(at, ways, np.full(len(rows), interval))
            assert told[choice[at]] == pytest.approx(now)
            picked[at] = ways
            true = np.broadcast_to(
                segment.timing.depth(picked, np.full(len(rows), interval)), len(rows)
            )
            picked[at] = way.picked(choice[at])
            close += np.isclose(told, true, rtol=0.05).mean()
        assert close / len(choice) > 0.5
