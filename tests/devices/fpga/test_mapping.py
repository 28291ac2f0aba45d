from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brpnas.devices.fpga import read_platform
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.many import Jury
from brpnas.devices.fpga.mapping import OPTIMISERS, Annealing, Best, Brute, Design, Rule
from brpnas.devices.fpga.mapping.cuts import Span, shortest_path
from brpnas.devices.fpga.mapping.design import cut_places, reload_counts
from brpnas.devices.fpga.network import INPUT, Network, Node
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.platform import Platform
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError

SMALLEST = ("tiny_conv", "tiny_ip", "three_layer")
MODES = [
    (board, batch, exact)
    for board in ("zedboard", "zc706")
    for batch in (1, 256)
    for exact in (True, False)
]


def network(shared: Path, name: str) -> Network:
    return read_onnx(shared / "fpga" / "nets" / f"{name}.onnx")


def board(name: str, **changes: int) -> Platform:
    platform = read_platform(name)
    return replace(platform, resources={**platform.resources, **changes})


def least_cycles(problem: Problem, start: int, stop: int) -> float:
    """Judge every design there is of some layers as one part."""
    best = np.inf
    for reloads in [1, *reload_counts(problem, start, stop)]:
        segment = Segment(problem, start, stop, reloads)
        jury, sizes = Jury(segment), [len(ways) for ways in segment.ways]
        for first in range(0, int(np.prod(sizes)), 200_000):
            places = np.arange(first, min(int(np.prod(sizes)), first + 200_000))
            costs = jury.judge(np.stack(np.unravel_index(places, sizes), axis=1))
            best = min(best, float(np.where(costs.fits, costs.cycles, np.inf).min()))
    return best


def least_seconds(problem: Problem) -> float:
    """Judge every design there is."""
    places = cut_places(problem)
    cycles = {span: least_cycles(problem, *span) for span in itertools.combinations(places, 2)}
    return min(
        problem.seconds([cycles[span] for span in itertools.pairwise(path)])
        for path in paths(places)
    )


def paths(places: list[int]) -> Iterator[tuple[int, ...]]:
    for count in range(len(places) - 1):
        for inner in itertools.combinations(places[1:-1], count):
            yield (places[0], *inner, places[-1])


@pytest.mark.parametrize("name", ["tiny_conv", "tiny_ip"])
@pytest.mark.parametrize(("platform", "batch", "exact"), MODES)
def test_brute_finds_the_best_of_all(
    name: str, platform: str, batch: int, exact: bool, shared: Path
) -> None:
    problem = Problem(network(shared, name), board(platform), batch=batch, reference_exact=exact)
    design = Brute().map(problem)
    assert design.proven
    assert design.seconds == least_seconds(problem)


@pytest.mark.parametrize("exact", [True, False])
def test_brute_finds_the_best_of_millions(exact: bool, shared: Path) -> None:
    problem = Problem(
        network(shared, "three_layer"), board("zedboard"), batch=1, reference_exact=exact
    )
    design = Brute().map(problem)
    assert design.proven
    assert [part.costs.cycles for part in design.parts] == [least_cycles(problem, 0, 5)]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("name", "luts", "loads"), [("tiny_ip", 3000, (1, 1)), ("tiny_conv", 5500, (2,))]
)
def test_brute_cuts_and_loads_again_where_that_is_best(
    name: str, luts: int, loads: tuple[int, ...], exact: bool, shared: Path
) -> None:
    """A small board that is quick to load."""
    small = replace(board("zedboard", BRAM=0, LUT=luts, DSP=2), reconfiguration_s=1e-7)
    problem = Problem(network(shared, name), small, batch=16, reference_exact=exact)
    design = Brute().map(problem)
    assert tuple(part.segment.reloads for part in design.parts) == loads
    assert design.seconds == pytest.approx(least_seconds(problem), rel=1e-12)


@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize(("platform", "batch", "exact"), MODES)
def test_best_is_optimal_on_the_smallest(
    name: str, platform: str, batch: int, exact: bool, shared: Path
) -> None:
    problem = Problem(network(shared, name), board(platform), batch=batch, reference_exact=exact)
    optimum = Brute().map(problem).seconds
    assert Best().map(problem).seconds == optimum
    assert Best(few=0).map(problem).seconds <= optimum * 1.25  # by duals, as larger networks


def check(design: Design) -> None:
    assert design.fits
    nodes = design.problem.network.nodes
    covered = [
        place for part in design.parts for place in range(part.segment.start, part.segment.stop)
    ]
    assert covered == list(range(len(nodes)))
    for part in design.parts:
        assert len(part.choice) == len(part.segment.ways)
        assert (part.costs.resources[[0, 4]] <= design.problem.limits[[0, 4]]).all()
        limit = design.problem.platform.memory_gbit_per_s * (1 - design.problem.margin)
        assert part.costs.gbit_per_s <= limit * (1 + 1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("optimiser", [Best(), Rule(), Annealing(steps=300), Brute(1.0)])
@pytest.mark.parametrize("name", ["lenet", "resnet8"])
def test_designs_are_whole_and_fit(
    name: str, optimiser: Best | Rule | Annealing | Brute, margin: float, shared: Path
) -> None:
    problem = Problem(network(shared, name), board("zedboard"), batch=64, margin=margin)
    check(optimiser.map(problem))


@pytest.mark.parametrize("optimiser", [Best(), Rule(), Annealing(steps=300), Brute(1.0)])
def test_designs_of_several_parts(optimiser: Best | Rule | Annealing | Brute, shared: Path) -> None:
    platform = board("zedboard", LUT=15000, BRAM=40, DSP=30)
    problem = Problem(network(shared, "resnet8"), platform, batch=256)
    design = optimiser.map(problem)
    check(design)
    assert len(design.parts) > 1


def test_the_best_is_not_worse_than_the_others(shared: Path) -> None:
    for name, batch in itertools.product(("lenet", "resnet8"), (1, 256)):
        problem = Problem(network(shared, name), board("zc706"), batch=batch)
        others = [Rule().map(problem).seconds, Annealing(steps=2000).map(problem).seconds]
        assert Best().map(problem).seconds <= min(others) * 1.001


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_cannot_fit_is_explained(name: str, shared: Path) -> None:
    problem = Problem(network(shared, "lenet"), board("zedboard", LUT=1200))
    with pytest.raises(UserError) as error:
        OPTIMISERS[name]().map(problem)
    text = str(error.value)
    assert text.startswith("'lenet' does not fit on zedboard: its smallest part (")
    assert "LUT of 1200" in text
    assert "\n" not in text


def test_brute_stops_in_time_and_proves_nothing(shared: Path) -> None:
    problem = Problem(network(shared, "lenet"), board("zc706"))
    design = Brute(0.0).map(problem)
    assert not design.proven
    check(design)
    assert Brute().map(problem).seconds < design.seconds


def test_brute_with_little_work_is_the_same_every_time(shared: Path) -> None:
    problem = Problem(network(shared, "resnet8"), board("zedboard"), batch=1)
    one, other = (Brute(blocks=40).map(problem) for _ in range(2))
    assert not one.proven
    assert [part.choice for part in one.parts] == [part.choice for part in other.parts]
    assert one.seconds < Rule().map(problem).seconds


def test_annealing_stops_in_time(shared: Path) -> None:
    problem = Problem(network(shared, "lenet"), board("zc706"))
    short = Annealing(steps=10**9, time_limit_s=0.0).map(problem)
    check(short)
    assert Annealing(steps=1000).map(problem).seconds < short.seconds


_ELSEWHERE = """
import sys
from pathlib import Path
from brpnas.devices.fpga import read_platform
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.mapping import Annealing, Best, Rule
from brpnas.devices.fpga.problem import Problem
problem = Problem(read_onnx(Path(sys.argv[1])), read_platform("zedboard"), batch=16)
for optimiser in (Best(), Rule(), Annealing(seed=3, steps=500)):
    print([(p.segment.start, p.segment.reloads, p.choice) for p in optimiser.map(problem).parts])
"""


def test_another_process_gives_the_same(shared: Path) -> None:
    path = shared / "fpga" / "nets" / "lenet.onnx"
    problem = Problem(read_onnx(path), read_platform("zedboard"), batch=16)
    here = [
        str([(p.segment.start, p.segment.reloads, p.choice) for p in optimiser.map(problem).parts])
        for optimiser in (Best(), Rule(), Annealing(seed=3, steps=500))
    ]
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == here


def test_seeds_differ(shared: Path) -> None:
    problem = Problem(network(shared, "resnet8"), board("zedboard"))
    choices = {Annealing(seed, steps=100).map(problem).parts[0].choice for seed in range(3)}
    assert len(choices) > 1


@pytest.mark.parametrize("exact", [True, False])
def test_the_shortest_path_of_all(exact: bool) -> None:
    """Also where it pays to load the board so often only since it is loaded anyway."""
    relu = Node("relu", "relu", {"rows": 1, "cols": 1, "channels": 1}, (INPUT,), (1, 1, 1))
    platform = replace(board("zc706"), reconfiguration_s=1e-6)
    problem = Problem(Network("net", (1, 1, 1), (relu,)), platform, reference_exact=exact)
    rng = np.random.default_rng(0)
    for _ in range(300):
        spans = list(itertools.combinations(range(5), 2))
        cycles: dict[Span, float] = {
            span: float(rng.integers(1, 600)) * (span[1] - span[0]) for span in spans
        }
        cycles[spans[int(rng.integers(len(spans)))]] = np.inf
        seconds = {
            path: problem.seconds([cycles[span] for span in itertools.pairwise(path)])
            for path in paths([*range(5)])
        }
        found = shortest_path(problem, 5, cycles)
        assert found is not None
        assert problem.seconds([cycles[span] for span in found]) == min(seconds.values())


def test_no_path() -> None:
    relu = Node("relu", "relu", {"rows": 1, "cols": 1, "channels": 1}, (INPUT,), (1, 1, 1))
    problem = Problem(Network("net", (1, 1, 1), (relu,)), board("zc706"))
    assert shortest_path(problem, 3, {(0, 1): 1.0, (1, 2): np.inf, (0, 2): np.inf}) is None


WINDOW = {
    **dict.fromkeys(("stride_rows", "stride_cols"), 1),
    **dict.fromkeys(("pad_top", "pad_right", "pad_bottom", "pad_left"), 1),
}


def chain(size: int, layers: list[tuple[str, int]]) -> Network:
    """Layers by kind: convolutions with so many filters, and others."""
    nodes: list[Node] = []
    channels, before = layers[0][1], INPUT
    for kind, filters in layers:
        sizes = {"rows": size, "cols": size, "channels": channels}
        if kind == "convolution":
            sizes |= {"kernel_rows": 3, "kernel_cols": 3, "filters": filters, "groups": 1}
            sizes |= {**WINDOW, "has_bias": 0}
            channels = filters
        name = f"{kind}{len(nodes)}"
        nodes.append(Node(name, kind, sizes, (before,), (size, size, channels)))
        before = name
    return Network("chain", (size, size, layers[0][1]), tuple(nodes))


def branches(size: int, channels: int) -> Network:
    """One convolution beside another, or beside nothing, and one behind them."""
    sizes = {"rows": size, "cols": size, "channels": channels}
    conv = {**chain(size, [("convolution", channels)]).nodes[0].sizes}
    adding = {"ports_in": 2, "op_type": "add", "broadcast": 0}
    shape = (size, size, channels)
    nodes = (
        Node("split", "split", {**sizes, "ports_out": 2}, (INPUT,), shape),
        Node("long", "convolution", conv, ("split",), shape),
        Node("relu", "relu", sizes, ("long",), shape),
        Node("add", "eltwise", {**sizes, **adding}, ("split", "relu"), shape),
        Node("last", "convolution", conv, ("add",), shape),
    )
    return Network("branches", shape, nodes)


@pytest.mark.parametrize("share", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("exact", [True, False])
def test_brute_finds_the_best_of_branches(exact: bool, batch: int, share: float) -> None:
    resources = {name: int(n * share) for name, n in board("zedboard").resources.items()}
    platform = replace(board("zedboard", **resources), reconfiguration_s=1e-5)
    problem = Problem(branches(12, 6), platform, batch=batch, reference_exact=exact)
    design = Brute().map(problem)
    assert design.proven
    assert design.seconds == pytest.approx(least_seconds(problem), rel=1e-12)


LAYERS = st.tuples(
    st.sampled_from(["convolution", "convolution", "relu"]), st.sampled_from([1, 3, 4, 6, 8])
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    size=st.sampled_from([3, 8, 14]),
    layers=st.lists(LAYERS, min_size=1, max_size=4),
    batch=st.sampled_from([1, 16]),
    exact=st.booleans(),
    share=st.sampled_from([0.05, 0.2, 1.0]),
)
@example(size=8, layers=[("convolution", 8)] * 3, batch=1, exact=False, share=0.2)
def test_best_is_near_the_optimum(
    size: int, layers: list[tuple[str, int]], batch: int, exact: bool, share: float
) -> None:
    resources = {name: int(n * share) for name, n in board("zedboard").resources.items()}
    platform = replace(board("zedboard", **resources), reconfiguration_s=1e-5)
    problem = Problem(chain(size, layers), platform, batch=batch, reference_exact=exact)
    brute = Brute().map(problem)
    assert brute.proven
    assert brute.seconds <= Rule().map(problem).seconds
    assert Best().map(problem).seconds == pytest.approx(brute.seconds, rel=0.05)
    by_duals = Best(few=0).map(problem)  # as larger networks
    assert brute.seconds * (1 - 1e-9) <= by_duals.seconds <= brute.seconds * 1.3
