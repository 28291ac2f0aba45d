from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brpnas.errors import UserError
from brpnas.lowrank.counting import count_macs
from brpnas.search import Evolution, LocalSearch, Observation, Problem, Reinforce
from brpnas.spaces import Cell101, NASBench101, NetworkShape, Space
from brpnas.testing import SpaceContract

SPACE = NASBench101()
CONV3, CONV1, POOL = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
# Four branches as in Inception: a 1x1, a 3x3, two 3x3 in a row, a pool.
MATRIX = [
    [0, 1, 1, 1, 0, 1, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0],
]
INCEPTION = ["input", CONV1, CONV3, CONV3, CONV3, POOL, "output"]


@pytest.fixture(scope="module")
def official(shared: Path) -> pd.DataFrame:
    """All 423,624 cells with the official hash, parameters and multiply-accumulates."""
    table = pd.read_parquet(shared / "data" / "nasbench101_cells.parquet")
    return table.assign(arch=table["edge_bits"].astype(str) + ":" + table["ops"])


class TestNASBench101(SpaceContract):
    @pytest.fixture
    def space(self) -> Space[Any]:
        return SPACE


# The text


def test_edges_and_operations_of_a_text() -> None:
    cell = SPACE.parse(" 39:01\n")
    assert cell == Cell101(0b100111, (CONV3, CONV1))
    assert str(cell) == "39:01"
    matrix = [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert Cell101.from_matrix(matrix, ["input", CONV3, CONV1, "output"]) == cell


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "malformed cell ''"),
        ("1205349", "expected edge bits, a colon and up to five operations of 0 (conv3x3"),
        ("1205349:02003", "expected edge bits"),
        ("1205349:020011", "expected edge bits"),
        ("-1:", "expected edge bits"),
        ("039:01", "did you mean '39:01'?"),
        ("2:", "edge bits 2 do not fit the 1 of 2 vertices"),
        ("1:1", "no path from input to output"),
        ("2097151:00000", "21 edges survive pruning; 9 are allowed"),
    ],
)
def test_malformed_text_gets_a_clear_error(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        SPACE.parse(text)
    assert message in str(caught.value)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.one_of(st.text(max_size=20), st.from_regex(r"\A\d{1,8}:[0-3]{0,6}\Z")))
def test_any_text_is_a_cell_or_the_users_error(text: str) -> None:
    try:
        cell = SPACE.parse(text)
    except UserError:
        return
    assert str(cell) == text.strip()


def test_cell_validates_itself() -> None:
    with pytest.raises(UserError, match=r"unknown operation 'conv3x3'. Did you mean 'conv3x3-bn"):
        Cell101(39, ("conv3x3", CONV1))
    with pytest.raises(UserError, match="8 vertices; there are 2 to 7"):
        Cell101(1, (POOL,) * 6)
    cell = Cell101.from_matrix
    with pytest.raises(UserError, match="the matrix of 2 operations must have 2 rows"):
        cell([[0, 1]], ["input", "output"])
    with pytest.raises(UserError, match="must begin with 'input' and end with 'output'"):
        cell([[0, 1], [0, 0]], ["output", "input"])
    with pytest.raises(UserError, match="row 1, column 0 of the matrix is 1"):
        cell([[0, 1], [1, 0]], ["input", "output"])
    with pytest.raises(UserError, match="row 0, column 1 of the matrix is '1'"):
        cell([[0, "1"], [0, 0]], ["input", "output"])


# Classes


def test_enumeration_is_the_official_one(official: pd.DataFrame) -> None:
    cells = [str(cell) for cell in SPACE]
    assert len(cells) == len(SPACE) == len(official) == 423_624
    assert set(cells) == set(official["arch"])


def test_hash_is_the_official_one(official: pd.DataFrame) -> None:
    small = official[official["n_vertices"] < 6]
    for row in pd.concat([small, official.sample(2000, random_state=0)]).itertuples():
        assert SPACE.fingerprint(SPACE.parse(str(row.arch))) == row.hash


def test_any_writing_has_the_class_of_its_hash(official: pd.DataFrame) -> None:
    """Random matrices, most of them with dead vertices or in an unusual order."""
    arch_of = dict(zip(official["hash"], official["arch"], strict=True))
    rng = np.random.default_rng(0)
    written = renamed = smaller = 0
    while written < 2000:
        inner = int(rng.integers(6))
        bits = int(rng.integers(1 << (inner + 2) * (inner + 1) // 2))
        digits = "".join(map(str, rng.integers(3, size=inner)))
        try:
            cell = SPACE.parse(f"{bits}:{digits}")
        except UserError:
            continue
        written += 1
        canonical = SPACE.canonical(cell)
        assert str(canonical) == arch_of[SPACE.fingerprint(cell)]
        renamed += canonical != cell and canonical.vertices == cell.vertices
        smaller += canonical.vertices < cell.vertices
    assert renamed > 20
    assert smaller > 1000


def test_pruning_by_hand() -> None:
    # Vertex 2 is fed by nothing, vertex 3 feeds nothing: 0 -> 1 -> 4 and 0 -> 4 are left.
    matrix = np.zeros((5, 5), int)
    for source, target in [(0, 1), (1, 4), (0, 4), (2, 4), (1, 3)]:
        matrix[source, target] = 1
    cell = Cell101.from_matrix(matrix.tolist(), ["input", POOL, CONV3, CONV1, "output"])
    assert SPACE.canonical(cell) == SPACE.parse("7:2")
    graph = SPACE.graph(cell)
    assert graph.live.tolist() == [True, True, False, False, True]
    assert (graph.numbers[[2, 3]] == 0).all()
    assert SPACE.params(cell) == SPACE.params(SPACE.parse("7:2"))


def test_sample_is_uniform_over_classes(official: pd.DataFrame) -> None:
    drawn = SPACE.sample(40_000, np.random.default_rng(0))
    places = pd.Index(official["arch"]).get_indexer([str(cell) for cell in drawn])
    assert (places >= 0).all()
    # Rows are in the order of a hash, so tenths of the table are random parts of the space.
    counts = np.bincount(places * 10 // len(official), minlength=10)
    assert np.abs(counts - 4000).max() < 4 * 4000**0.5
    sizes = official["n_vertices"].value_counts() * len(drawn) / len(official)
    assert sum(cell.vertices == 6 for cell in drawn) == pytest.approx(sizes[6], rel=0.05)


def test_another_process_draws_the_same() -> None:
    code = (
        "import numpy as np; from brpnas.spaces import NASBench101; space = NASBench101()\n"
        "rng = np.random.default_rng(7); cells = space.sample(5, rng)\n"
        "print(*cells, *(space.mutate(cell, rng) for cell in cells))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rng = np.random.default_rng(7)
    cells = SPACE.sample(5, rng)
    assert done.stdout.split() == [
        str(cell) for cell in [*cells, *(SPACE.mutate(cell, rng) for cell in cells)]
    ]


# Steps


def test_neighbours_by_hand() -> None:
    """From 0 -> 1 -> 2 with a pool: a shortcut, another operation, or one vertex more."""
    around = {"7:2", "5:0", "5:1"}
    for name in "012":
        around |= {
            f"39:{name}2",  # 0 -> new -> pool, beside the edge to the pool
            f"53:2{name}",  # pool -> new -> output, beside the edge from the pool
            "51:" + "".join(sorted(f"{name}2")),  # 0 -> new -> output, beside the pool
        }
    assert {str(cell) for cell in SPACE.neighbours(SPACE.parse("5:2"))} == around


def test_neighbours_are_other_classes_each_once() -> None:
    for cell in SPACE.sample(200, np.random.default_rng(0)):
        around = SPACE.neighbours(cell)
        assert len(set(around)) == len(around) > 5
        assert cell not in around
        assert all(SPACE.canonical(other) == other for other in around)
        # Another operation can be changed back, and so can an edge that no vertex hung on.
        for other in around:
            if other.vertices == cell.vertices:
                assert cell in SPACE.neighbours(other)


def test_mutants_are_all_neighbours() -> None:
    cell, rng = SPACE.parse("39:01"), np.random.default_rng(0)
    around = SPACE.neighbours(cell)
    assert {SPACE.mutate(cell, rng) for _ in range(60 * len(around))} == set(around)


def test_every_small_cell_is_reached_by_steps() -> None:
    seen = {SPACE.parse("1:")}
    front = list(seen)
    while front:
        around = {other for cell in front for other in SPACE.neighbours(cell)}
        front = [cell for cell in around - seen if cell.vertices <= 5]
        seen |= set(front)
    assert seen == {cell for cell in itertools.islice(SPACE, 3000) if cell.vertices <= 5}


# Costs and networks


def test_costs_are_the_official_ones(official: pd.DataFrame) -> None:
    some = official.iloc[::20]
    cells = [SPACE.parse(text) for text in some["arch"]]
    assert [SPACE.params(cell) for cell in cells] == some["params"].tolist()
    assert [SPACE.macs(cell) for cell in cells] == some["macs"].tolist()


def test_costs_by_hand() -> None:
    """A 3x3 convolution alone: a projection and a convolution in each of nine cells."""
    params = 27 * 128 + 2 * 128 + 512 * 10 + 10
    macs = 27 * 128 * 32**2 + 512 * 10
    width = 128
    for channels, size in ((128, 32), (256, 16), (512, 8)):
        for _ in range(3):
            params += width * channels + 9 * channels**2 + 2 * 2 * channels
            macs += (width * channels + 9 * channels**2) * size**2
            width = channels
    assert SPACE.params(SPACE.parse("5:0")) == params
    assert SPACE.macs(SPACE.parse("5:0")) == macs


def test_graph_of_a_cell() -> None:
    cell = Cell101.from_matrix(MATRIX, INCEPTION)
    graph = SPACE.graph(cell)
    assert [graph.schema.operations[i] for i in graph.operations] == INCEPTION
    expected = {(x, y) for x, row in enumerate(MATRIX) for y, entry in enumerate(row) if entry}
    assert {(int(x), int(y)) for x, y in graph.edges} == expected
    assert graph.live.all()
    assert graph.schema.numbers == ("channels", "macs_m", "params_m")
    # Four vertices feed the output, vertex 3 feeds vertex 4.
    assert graph.numbers[:, 0].tolist() == [128, 32, 32, 32, 32, 32, 128]
    frame = np.array([27 * 128 * 32**2 + 5120, 27 * 128 + 256 + 5130])
    total = graph.numbers[:, 1:].astype(float).sum(axis=0) * 1e6 + frame
    assert total.tolist() == pytest.approx([SPACE.macs(cell), SPACE.params(cell)], rel=1e-6)


def test_channels_that_do_not_divide_go_to_the_first() -> None:
    # Three vertices between input and output: 0 -> 1, 2, 3 -> 4.
    bits = sum(1 << place for place in (0, 1, 3, 7, 8, 9))
    assert SPACE.graph(Cell101(bits, (CONV3,) * 3)).numbers[1:-1, 0].tolist() == [43, 43, 42]


def test_network_has_the_costs_of_the_formula() -> None:
    image = torch.zeros(1, 3, 32, 32)
    cells = [SPACE.parse("1:"), SPACE.parse("7:2"), Cell101.from_matrix(MATRIX, INCEPTION)]
    # The cheap ones, because counting runs them.
    drawn = sorted(SPACE.sample(40, np.random.default_rng(0)), key=SPACE.macs)[:15]
    for cell in [*cells, *drawn]:
        network = SPACE.build(cell)
        assert sum(p.numel() for p in network.parameters()) == SPACE.params(cell)
        assert count_macs(network, image) == SPACE.macs(cell)


@pytest.mark.parametrize(
    "shape",
    [
        NetworkShape(channels=5, cells_per_stage=1, classes=2, input_size=4, input_channels=1),
        NetworkShape(channels=7, cells_per_stage=2, classes=3, input_size=9),
    ],
)
def test_other_shapes(shape: NetworkShape) -> None:
    x = torch.randn(2, shape.input_channels, shape.input_size, shape.input_size)
    for cell in SPACE.sample(30, np.random.default_rng(1)):
        scores = SPACE.build(cell, shape)(x)
        assert scores.shape == (2, shape.classes)
        assert scores.isfinite().all()


def test_cell_computed_by_hand() -> None:
    """Truncation, sums, concatenation and projections of one cell, from its layers."""
    # 0 -> 1, 2, 3, 4; 1 -> 2, 3; 2 -> 4; 3 -> 4. Vertices 2 and 3 have 2 and 1 of 3 channels.
    cell = Cell101(sum(1 << place for place in (0, 1, 2, 3, 4, 6, 8, 9)), (CONV1, POOL, CONV3))
    shape = NetworkShape(channels=3, cells_per_stage=1)
    network = SPACE.build(cell, shape).eval()
    module: Any = network.features[1]
    x = torch.randn(2, 3, 6, 6)
    layers, projected = module.operations, module.projections
    one = layers["1"](projected["1"](x))
    assert one.shape[1] == 2
    two = layers["2"](projected["2"](x) + one)
    three = layers["3"](one[:, :1] + projected["3"](x))
    expected = torch.cat([two, three], 1) + projected["4"](x)
    torch.testing.assert_close(module(x), expected)


def test_replicas_are_independent_networks() -> None:
    shape = NetworkShape(channels=5, cells_per_stage=1, input_size=8)
    side_by_side = NetworkShape(channels=5, cells_per_stage=1, input_size=8, replicas=2)
    x = torch.randn(3, 3, 8, 8)
    for cell in SPACE.sample(20, np.random.default_rng(2)):
        pair = SPACE.build(cell, side_by_side).eval()
        expected = []
        for replica in range(2):
            single = SPACE.build(cell, shape).eval()
            # Every tensor of the pair holds the first replica's part, then the second's.
            single.load_state_dict(
                {
                    name: value.chunk(2)[replica] if value.ndim else value
                    for name, value in pair.state_dict().items()
                }
            )
            expected.append(single(x))
        torch.testing.assert_close(pair(x.repeat(1, 2, 1, 1)), torch.stack(expected, 1))


def test_too_few_channels_are_the_users_error() -> None:
    cell = Cell101.from_matrix(MATRIX, INCEPTION)
    with pytest.raises(UserError, match=r"4 vertices .* needs at least 4, not 3"):
        SPACE.build(cell, NetworkShape(channels=3))


# Search


@pytest.mark.parametrize("strategy", [Evolution, LocalSearch])
def test_searches_by_steps_beat_chance(strategy: Any) -> None:
    """The most parameters among the cells of up to 6 vertices."""
    pool = list(itertools.takewhile(lambda cell: cell.vertices < 7, SPACE))
    value = {cell: float(SPACE.params(cell)) for cell in pool}
    search = strategy(Problem(SPACE, pool, "params"), 0)
    found: list[float] = []
    while len(found) < 150:
        for candidate in search.ask(1):
            search.tell([Observation(candidate.arch, value[candidate.arch], {})])
            found.append(value[candidate.arch])
    better = sum(other > max(found) for other in value.values()) / len(pool)
    assert better < 1e-4  # the best of 150 random ones is expected to be beaten by one in 151


def test_reinforce_is_refused() -> None:
    problem = Problem(SPACE, [SPACE.parse("1:")], "params")
    with pytest.raises(UserError, match="needs a space of independent choices"):
        Reinforce(problem, 0)
