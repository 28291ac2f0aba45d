from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brpnas.errors import UserError
from brpnas.spaces import Cell, Graph, NASBench201, Space
from brpnas.testing import SpaceContract

SPACE = NASBench201()
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
TEXT = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
# From NetworkShape(): 5 cells in each of three stages of 16, 32, 64 channels at 32, 16, 8 pixels.
CONV3 = (15 * 16 * 16 * 9 * 32 * 32 / 1e6, 5 * (9 * (16**2 + 32**2 + 64**2) + 2 * 112) / 1e6)
CONV1 = (15 * 16 * 16 * 32 * 32 / 1e6, 5 * (16**2 + 32**2 + 64**2 + 2 * 112) / 1e6)
FREE = (0.0, 0.0)


class TestNASBench201(SpaceContract):
    @pytest.fixture
    def space(self) -> Space[Any]:
        return SPACE


def test_official_string_is_read_in_the_official_order() -> None:
    cell = SPACE.parse(TEXT)
    assert cell.operations == (
        "nor_conv_3x3",  # node 0 to 1
        "none",  # 0 to 2
        "avg_pool_3x3",  # 1 to 2
        "skip_connect",  # 0 to 3
        "nor_conv_1x1",  # 1 to 3
        "none",  # 2 to 3
    )
    assert str(cell) == TEXT
    assert SPACE.parse(f"  {TEXT}\n") == cell


def test_all_texts_round_trip(shared: Path) -> None:
    texts = [str(cell) for cell in SPACE]
    assert [SPACE.parse(text) for text in texts] == list(SPACE)
    official = pd.read_parquet(shared / "data" / "nasbench201.parquet", columns=["arch"])["arch"]
    assert set(texts) == set(official)
    assert len(texts) == len(official) == 15_625


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "malformed cell ''"),
        ("nonsense", "malformed cell 'nonsense': expected the form |op~0|"),
        (TEXT.rsplit("+", 1)[0], "expected the form"),  # two groups
        (f"{TEXT}+|none~0|", "expected the form"),  # four
        (TEXT.replace("~1", "~0"), "expected the form"),  # sources out of order
        (TEXT.replace("~2", "~3"), "expected the form"),
        (TEXT.replace("|none~2", ""), "expected the form"),  # too few operations
        (TEXT.replace("|none~2", "|none~2|none~3"), "expected the form"),
        (TEXT.replace("~", ""), "expected the form"),
        (TEXT.strip("|"), f"did you mean '{TEXT}'?"),
        (f"|{TEXT}", f"did you mean '{TEXT}'?"),
        (TEXT.replace("skip_connect", "skip"), "unknown operation 'skip'"),
        (TEXT.replace("avg_pool_3x3", "avg_pool3x3"), "Did you mean 'avg_pool_3x3'?"),
    ],
)
def test_malformed_text_gets_a_clear_error(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        SPACE.parse(text)
    assert message in str(caught.value)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        st.text(max_size=100),
        # Near misses: pieces of real strings in any order.
        st.lists(
            st.sampled_from(["|", "+", "~", "~0", "~1", "~2", " ", "\n", "none", *OPERATIONS]),
            max_size=30,
        ).map("".join),
        # One character of a real string changed.
        st.tuples(st.integers(0, len(TEXT) - 1), st.text(max_size=2)).map(
            lambda change: TEXT[: change[0]] + change[1] + TEXT[change[0] + 1 :]
        ),
    )
)
def test_any_text_is_a_cell_or_the_users_error(text: str) -> None:
    try:
        cell = SPACE.parse(text)
    except UserError:
        return
    assert str(cell) == text.strip()


def test_cell_validates_itself() -> None:
    with pytest.raises(UserError, match="a cell has 6 operations, not 5"):
        Cell(("none",) * 5)
    with pytest.raises(UserError, match=r"unknown operation 'conv'.*avg_pool_3x3"):
        Cell(("conv", *["none"] * 5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Cell(("none",) * 6).operations = ()  # type: ignore[misc]


def test_there_are_5044_canonical_cells() -> None:
    assert len({SPACE.canonical(cell) for cell in SPACE}) == 5044


def test_there_are_5260_deployed_cells() -> None:
    assert len({SPACE.deployed(cell) for cell in SPACE}) == 5260


def _cell(operations: str) -> Cell:
    short = dict(zip(("-", "skip", "1", "3", "pool"), OPERATIONS, strict=True))
    return Cell(tuple(short[operation] for operation in operations.split()))


@pytest.mark.parametrize(
    ("cells", "equal"),
    [
        # dead: node 1 is read by nobody; node 1 is fed by nothing
        ((_cell("3 - - 1 - -"), _cell("- - - 1 - -")), True),
        ((_cell("- - - 1 3 -"), _cell("- - - 1 - -")), True),
        # a skip moves the work to another place
        ((_cell("skip - - - 3 -"), _cell("- - - 3 - -")), True),
        # inner nodes renamed
        ((_cell("3 1 - - skip pool"), _cell("1 3 - - pool skip")), True),
        # pool(x) + pool(y) = pool(x + y)
        ((_cell("3 skip skip - - pool"), _cell("3 - - pool pool -")), True),
        # but relu is not linear
        ((_cell("3 skip skip - - 1"), _cell("3 - - 1 1 -")), False),
        # two convolutions of one input have weights of their own
        ((_cell("3 3 - - skip skip"), _cell("3 - - skip skip -")), False),
        # one convolution read twice is not two
        ((_cell("3 - skip - skip skip"), _cell("3 - - - skip -")), False),
        ((_cell("- - - 1 - -"), _cell("- - - 3 - -")), False),
    ],
)  # fmt: skip
def test_equivalences_by_hand(cells: tuple[Cell, Cell], equal: bool) -> None:
    one, other = map(SPACE.canonical, cells)
    assert (one == other) is equal


@pytest.mark.parametrize(
    ("cells", "equal"),
    [
        # nothing from input to output: whatever else is written is dead
        ((_cell("3 - 1 - - -"), _cell("- - - - - -")), True),
        # one pool of one tensor, written twice
        ((_cell("pool pool - - skip skip"), _cell("pool - - skip skip -")), False),  # p + p, p + x
        ((_cell("pool pool - - 1 3"), _cell("pool - - - 1 -")), False),
        ((_cell("pool pool - - 1 1"), _cell("pool - skip - 1 1")), True),
        # but two pools of two tensors are not one pool of the sum
        ((_cell("3 skip skip - - pool"), _cell("3 - - pool pool -")), False),
        # x + x stays an addition
        ((_cell("skip - - skip skip -"), _cell("- - - skip - -")), False),
        # (a + b) + c = a + (b + c)
        ((_cell("3 1 - skip skip skip"), _cell("3 1 skip skip - skip")), True),
    ],
)  # fmt: skip
def test_deployed_alike_by_hand(cells: tuple[Cell, Cell], equal: bool) -> None:
    one, other = map(SPACE.deployed, cells)
    assert (one == other) is equal


def _edges(graph: Graph) -> set[tuple[int, int]]:
    return {(int(source), int(target)) for source, target in graph.edges}


def test_graph_of_a_cell_with_a_dead_end() -> None:
    graph = SPACE.graph(SPACE.parse(TEXT))
    names = [graph.schema.operations[index] for index in graph.operations]
    assert names == ["input", *SPACE.parse(TEXT).operations, "output"]
    assert _edges(graph) == {
        # the input is cell node 0, which operations 1, 2 and 4 read
        (0, 1), (0, 2), (0, 4),
        # operation 1 writes node 1, which operations 3 and 5 read
        (1, 3), (1, 5),
        # operations 2 and 3 write node 2, which operation 6 reads
        (2, 6), (3, 6),
        # operations 4, 5, 6 write node 3, the output
        (4, 7), (5, 7), (6, 7),
    }  # fmt: skip
    # Operation 6 is none, so nothing reads node 2: the pool (3) is dead.
    assert graph.live.tolist() == [True, True, False, False, True, True, False, True]
    assert graph.schema.numbers == ("source_node", "target_node", "macs_m", "params_m")
    assert graph.numbers.tolist() == [
        pytest.approx(row)
        for row in (
            (0, 0, *FREE), (0, 1, *CONV3), (0, 2, *FREE), (1, 2, *FREE),
            (0, 3, *FREE), (1, 3, *CONV1), (2, 3, *FREE), (3, 4, *FREE),
        )
    ]  # fmt: skip


def test_graph_of_a_cell_without_a_path() -> None:
    graph = SPACE.graph(_cell("3 - 3 - - -"))  # written, run, read by nobody
    assert not graph.live.any()
    assert graph.numbers[[1, 3], 2:].tolist() == [pytest.approx(CONV3)] * 2


def test_graph_of_a_cell_with_an_unfed_operation() -> None:
    graph = SPACE.graph(_cell("- skip 1 - 1 3"))  # node 1 is fed by nothing
    assert graph.live.tolist() == [True, False, True, False, False, False, True, True]
    assert graph.numbers[[3, 5, 6], 2].tolist() == pytest.approx([CONV1[0], CONV1[0], CONV3[0]])


def test_costs_of_all_graphs_follow_the_official_laws(shared: Path) -> None:
    """``flops_m`` and ``params_m`` are those of the empty cell plus those of the graph's nodes."""
    columns = ["arch", "flops_m", "params_m"]
    table = pd.read_parquet(shared / "data" / "nasbench201.parquet", columns=columns)
    numbers = np.stack([SPACE.graph(SPACE.parse(text)).numbers for text in table["arch"]])
    cost = numbers[:, :, 2:].astype(np.float64).sum(axis=1)  # (cells, 2)
    official = table[["flops_m", "params_m"]].to_numpy()
    # Stem, two reductions (3x3 and 3x3 at half the size, 1x1) and classifier with its biases.
    stem = 16 * 3 * 9 * 32**2
    blocks = sum(
        9 * (c * 2 * c + 4 * c * c) * s**2 + 2 * c * c * s**2 for c, s in ((16, 16), (32, 8))
    )
    frame_flops_m = (stem + blocks + 64 * 10 + 10) / 1e6
    stem_params = 16 * 3 * 9 + 2 * 16
    block_params = sum(9 * (c * 2 * c + 4 * c * c) + 2 * c * c + 2 * 2 * 2 * c for c in (16, 32))
    frame_params_m = (stem_params + block_params + 2 * 64 + 64 * 10 + 10) / 1e6
    np.testing.assert_allclose(cost[:, 0] + frame_flops_m, official[:, 0], atol=1e-5)
    np.testing.assert_allclose(cost[:, 1] + frame_params_m, official[:, 1], atol=1e-6)


def test_mutants_and_neighbours_of_a_cell() -> None:
    cell = SPACE.parse(TEXT)
    neighbours = SPACE.neighbours(cell)
    assert len(neighbours) == 24
    rng = np.random.default_rng(0)
    assert {SPACE.mutate(cell, rng) for _ in range(500)} == set(neighbours)


def test_enumeration_has_all_combinations() -> None:
    assert len(SPACE) == 15_625
    expected = itertools.product(OPERATIONS, repeat=6)
    assert [cell.operations for cell in SPACE] == list(expected)
