from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brpnas.devices.fpga import LAYERS, evaluate_layers, read_platform
from brpnas.devices.fpga.foldings import RESOURCES, Foldings, Words, foldings_of, reloaded
from brpnas.devices.fpga.network import INPUT, Network, Node
from brpnas.devices.fpga.problem import Problem

WINDOW: dict[str, int] = {
    **dict.fromkeys(("kernel_rows", "kernel_cols"), 3),
    **dict.fromkeys(("stride_rows", "stride_cols"), 1),
    **dict.fromkeys(("pad_top", "pad_right", "pad_bottom", "pad_left"), 1),
}


def node(kind: str, channels: Any, output: int, **sizes: Any) -> Node:
    sizes = {"rows": 8, "cols": 8, "channels": channels, **sizes}
    return Node("layer", kind, sizes, (INPUT,), (8, 8, output))


def convolution(channels: int, filters: int, groups: int = 1) -> Node:
    sizes = {**WINDOW, "filters": filters, "groups": groups, "has_bias": 0}
    return node("convolution", channels, filters, **sizes)


PRODUCT = Node(
    "layer",
    "inner_product",
    {"rows": 1, "cols": 1, "channels": 96, "filters": 10, "has_bias": 1},
    (INPUT,),
    (1, 1, 10),
)
NODES = [
    (convolution(12, 16), 6 * 5 * 3),
    (convolution(12, 8, groups=4), 2 * 2 * 3 * 3),
    (PRODUCT, 12 * 4),
    (node("pooling", 12, 12, **WINDOW), 6),
    (node("global_pool", 12, 12), 6),
    (node("relu", 12, 12), 6),
    (node("hard_swish", 12, 12), 6),
    (node("split", 12, 12, ports_out=2), 6),
    (node("eltwise", 12, 12, ports_in=2, op_type="mul", broadcast=1), 6),
    (node("concat", (12, 8), 20, ports_in=2), 3),
    (node("pad_channels", 12, 24, zeros_before=4, zeros_behind=8), 3),
]
IDS = [str(one.kind) for one, _ in NODES]


def plain(ways: Foldings) -> Foldings:
    """Those with all weights in block RAM."""
    return ways.kept((ways.columns["off_chip"] == 0) & (ways.columns["uram"] == 0))


@pytest.mark.parametrize("reference_exact", [True, False])
@pytest.mark.parametrize("words", [Words(), Words(8, 4, 24, block_floating_point=True)])
@pytest.mark.parametrize(("layer", "count"), NODES, ids=IDS)
def test_costs_are_those_of_the_table(
    layer: Node, count: int, words: Words, reference_exact: bool
) -> None:
    ways = plain(foldings_of(layer, words, reference_exact))
    assert len(ways) == count
    columns: dict[str, Any] = {
        **{"data_width": words.data, "weight_width": words.weight, "acc_width": words.acc},
        **{"block_floating_point": int(words.block_floating_point), "buffer_depth": 1},
        **layer.sizes,
    }
    wanted = {*LAYERS[layer.kind].inputs, *LAYERS[layer.kind].optional}
    table = pd.DataFrame(
        [{**columns, **ways.row(row)} for row in range(len(ways))],
        columns=[*columns, *ways.columns],
    )
    table = table[[name for name in table.columns if name in wanted]]
    expected = evaluate_layers(layer.kind, table, reference_exact=reference_exact)
    np.testing.assert_array_equal(ways.latency, expected["latency"])
    np.testing.assert_array_equal(ways.depth, expected["pipeline_depth"])
    for at, name in enumerate(RESOURCES[:4]):
        np.testing.assert_array_equal(ways.resources[:, at], expected[name], name)


def test_streams_and_their_words() -> None:
    ways = plain(foldings_of(convolution(12, 8, groups=4), Words()))
    row = next(
        row
        for row in range(len(ways))
        if ways.row(row)
        == {"coarse_in": 3, "coarse_out": 1, "coarse_group": 2, "fine": 9, "off_chip": 0, "uram": 0}
    )
    one = ways.picked(row)
    assert (one.streams_in, one.streams_out) == (6, 2)
    assert (one.words_in, one.words_out) == (8 * 8 * 12 / 6, 8 * 8 * 8 / 2)


def unfolded(ways: Foldings) -> Foldings:
    """The ways with one stream in and out and one product at a time."""
    chosen = np.ones(len(ways), dtype=bool)
    for name in ("coarse_in", "coarse_out", "coarse_group", "fine"):
        chosen &= ways.columns[name] == 1
    return ways.kept(chosen)


@pytest.mark.parametrize("exact", [False, True])
def test_weights_in_the_boards_memory(exact: bool) -> None:
    """64 x 64 x 9 words of 16 bits lie in 36 blocks of 1,024 words."""
    ways = unfolded(foldings_of(convolution(64, 64), Words(), exact))
    np.testing.assert_array_equal(ways.columns["off_chip"], [0, 9216, 18432, 27648, 36864])
    blocks = ways.resources[:, 1]
    np.testing.assert_array_equal(blocks[0] - blocks, [0, 9 - 1, 18 - 1, 27 - 1, 36 - 1])
    # In a cycle 16 bits are read, of which the share off chip has to come in; the reference counts
    # it as coming in while those on chip and in the buffer are read.
    latency = 8 * 8 * 64 * 64 * 9
    meanwhile = 36864 - ways.columns["off_chip"] + 1024 if exact else 36864
    per_cycle = ways.columns["off_chip"] * 16 / meanwhile
    np.testing.assert_allclose(ways.weight_bits, per_cycle * latency)
    assert (ways.latency == latency).all()


def test_weights_in_ultraram() -> None:
    without, within = (
        unfolded(foldings_of(convolution(64, 64), Words(), uram=uram)) for uram in (False, True)
    )
    assert len(within) == len(without) + 1
    assert within.columns["uram"].tolist() == [0, 0, 0, 0, 0, 1]
    assert within.resources[0, 1] - within.resources[-1, 1] == 36
    assert within.resources[:, 4].tolist() == [0, 0, 0, 0, 0, 36864 / 4096]
    assert within.weight_bits[-1] == 0


def test_weights_in_luts_stay_there() -> None:
    """Below 1,024 bits there is no block to save."""
    assert len(foldings_of(convolution(2, 3), Words(), uram=True)) == 2 * 2 * 3


def test_layers_of_one_pass() -> None:
    layer = reloaded(convolution(12, 16), 4, follows=False)
    assert (layer.sizes["channels"], layer.sizes["filters"], layer.output) == (12, 4, (8, 8, 4))
    behind = reloaded(node("relu", 16, 16), 4, follows=True)
    assert (behind.sizes["channels"], behind.output) == (4, (8, 8, 4))


def problem(layer: Node, **resources: int) -> Problem:
    board = read_platform("zc706")
    board = replace(board, resources={**board.resources, **resources})
    return Problem(Network("net", (8, 8, 12), (layer,)), board)


def test_what_is_larger_than_the_board_is_left_out() -> None:
    ways = problem(convolution(12, 16), DSP=100).foldings(convolution(12, 16))
    every = foldings_of(convolution(12, 16), Words())
    assert ways.resources[:, 0].max() == 96
    assert len(ways) == (every.resources[:, 0] <= 100).sum() < len(every)


def test_what_cannot_fit_is_kept_to_be_explained() -> None:
    layer = convolution(12, 16)
    assert len(problem(layer, LUT=10).foldings(layer)) == len(foldings_of(layer, Words()))
