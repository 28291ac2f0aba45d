"""Layers that a person can count, and every row of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brpnas.devices.fpga import COSTS, LAYERS, evaluate_layers
from brpnas.errors import UserError

EXACT = ("latency", "pipeline_depth", "DSP", "BRAM")
GOLDEN = sorted(set(LAYERS) - {"hard_swish", "hard_sigmoid", "pad_channels"})
"""Kinds that the reference has answers for."""

# 6 x 6 pixels of 4 channels, padded to 8 x 8; 8 filters of 3 x 3. Two of the four channels arrive
# at a time and four of the eight filters work at a time, each on whole kernels.
CONVOLUTION = {
    **dict.fromkeys(("rows", "cols"), 6),
    **{"channels": 4, "filters": 8, "groups": 1, "has_bias": 1},
    **dict.fromkeys(("kernel_rows", "kernel_cols"), 3),
    **dict.fromkeys(("stride_rows", "stride_cols"), 1),
    **dict.fromkeys(("pad_top", "pad_right", "pad_bottom", "pad_left"), 1),
    **{"coarse_in": 2, "coarse_out": 4, "coarse_group": 1, "fine": 9},
    **{"data_width": 16, "weight_width": 16, "acc_width": 30},
}
INNER_PRODUCT = {
    **{"rows": 2, "cols": 2, "channels": 8, "filters": 4, "has_bias": 0},
    **{"coarse_in": 8, "coarse_out": 4},
    **{"data_width": 8, "weight_width": 8, "acc_width": 16},
}
SIMPLE = {"rows": 6, "cols": 6, "channels": 8, "coarse": 4, "data_width": 16}


def cost(kind: str, layer: dict[str, Any], *, reference_exact: bool = True) -> dict[str, float]:
    found = evaluate_layers(kind, pd.DataFrame([layer]), reference_exact=reference_exact)
    return {name: float(found[name].iloc[0]) for name in COSTS}


@pytest.mark.parametrize("kind", GOLDEN)
def test_every_row_of_the_reference(kind: str, shared: Path) -> None:
    golden = pd.read_parquet(shared / "fpga" / f"golden_layers_{kind}.parquet")
    found = evaluate_layers(kind, golden)
    assert len(golden) >= 1200
    for name in EXACT:
        assert (found[name] == golden[name]).all(), name
    for name in ("LUT", "FF"):
        error = (found[name] - golden[name]).abs() / golden[name].where(golden[name] > 0, 1)
        assert error.median() < 0.02, name
        assert error.quantile(0.95) < 0.06, name


@pytest.mark.parametrize(
    ("width", "dsp", "bram"),
    [
        (16, 72, 32),  # 2 x 4 x 9 products; 4 words of 16 x 72 bits, 36 in a block
        (8, 36, 16),
        (4, 18, 8),
    ],
)
def test_word_lengths_of_a_convolution(width: int, dsp: int, bram: int) -> None:
    found = cost("convolution", {**CONVOLUTION, "data_width": width, "weight_width": width})
    # 64 padded pixels in 2 turns; 36 output pixels of 2 channels in turn and 2 filters in turn.
    assert found["latency"] == max(64 * 2, 36 * 4)
    # 2 lines and 2 pixels of the window, 4 levels of adders, 4 sums, 2 streams.
    assert found["pipeline_depth"] == (2 * 8 + 2) * 2 + 4 + 4 + 2
    assert (found["DSP"], found["BRAM"]) == (dsp, bram)


def test_both_word_lengths_have_to_be_short() -> None:
    assert cost("convolution", {**CONVOLUTION, "data_width": 4})["DSP"] == 72
    assert cost("convolution", {**CONVOLUTION, "weight_width": 4, "data_width": 8})["DSP"] == 36
    # A multiplier takes 18 by 27 bits.
    assert cost("convolution", {**CONVOLUTION, "data_width": 19})["DSP"] == 144


def test_a_share_of_a_slice_is_a_slice() -> None:
    single = {"coarse_in": 1, "coarse_out": 1, "fine": 1, "data_width": 4, "weight_width": 4}
    assert cost("convolution", {**CONVOLUTION, **single})["DSP"] == 1
    assert cost("convolution", {**CONVOLUTION, **single, "fine": 9})["DSP"] == 3


def test_block_floating_point_scales_every_output_stream() -> None:
    floating = {**CONVOLUTION, "block_floating_point": 1}
    assert cost("convolution", floating)["DSP"] == 72 + 4
    assert cost("convolution", {**floating, "data_width": 4, "weight_width": 4})["DSP"] == 18 + 4
    grouped = {**floating, "groups": 2, "coarse_in": 1, "coarse_out": 2, "coarse_group": 2}
    assert cost("convolution", grouped)["DSP"] == 1 * 2 * 2 * 9 + 2 * 2
    plain = cost("inner_product", INNER_PRODUCT)["DSP"]
    assert cost("inner_product", {**INNER_PRODUCT, "block_floating_point": 1})["DSP"] == plain + 4


def test_a_depthwise_convolution_by_hand() -> None:
    depthwise = {
        **CONVOLUTION,
        **{"groups": 4, "filters": 4, "coarse_in": 1, "coarse_out": 1, "coarse_group": 2},
        "fine": 3,
    }
    found = cost("convolution", depthwise)
    # Two groups in turn, a third of a kernel at a time: 6 turns of 2 x 3 products per pixel.
    assert found["latency"] == 36 * 6
    assert found["DSP"] == 6
    assert found["pipeline_depth"] == (2 * 8 + 2) * 2 + 2 + 6 + 1


def test_a_kernel_that_is_not_square() -> None:
    wide = {**CONVOLUTION, "kernel_rows": 1, "fine": 3, "stride_cols": 2}
    found = cost("convolution", wide)
    # 8 rows of outputs; columns 0, 2 and 4 of the 8.
    assert found["latency"] == max(64 * 2, 8 * 3 * 4)
    assert found["pipeline_depth"] == 2 * 2 + 2 + 4 + 2
    assert found["DSP"] == 2 * 4 * 3


def test_a_module_that_is_trivial_costs_nothing() -> None:
    point = {**CONVOLUTION, "kernel_rows": 1, "kernel_cols": 1, "fine": 1, "has_bias": 0}
    full = {**point, "coarse_in": 1, "coarse_out": 1, "channels": 1}
    found = cost("convolution", full)
    assert found["LUT"] < cost("convolution", {**full, "channels": 2})["LUT"]  # accumulates
    assert found["LUT"] < cost("convolution", {**full, "coarse_out": 2})["LUT"]
    assert found["LUT"] < cost("convolution", {**full, "has_bias": 1})["LUT"]
    # Padding (16) and one multiplier: no window, no accumulator, no sum over streams.
    assert found["LUT"] < 100


def test_inner_products_by_hand() -> None:
    # 32 words, 8 at a time, to 4 sums at once: 4 turns; but 32 words in the reference.
    exact = cost("inner_product", INNER_PRODUCT)
    physical = cost("inner_product", INNER_PRODUCT, reference_exact=False)
    assert (exact["latency"], physical["latency"]) == (32, 4)
    assert exact["pipeline_depth"] == physical["pipeline_depth"] == 4 + 1 + 8
    assert exact["DSP"] == physical["DSP"] == 8 * 4 / 2
    # 4 words of 8 x 32 bits: 1,024 bits just need memory, 36 in a block.
    assert exact["BRAM"] == 8
    short = {**INNER_PRODUCT, "data_width": 4, "weight_width": 4}
    assert cost("inner_product", short)["DSP"] == 8 * 4 / 4


def test_half_a_slice_is_a_quirk_of_the_reference() -> None:
    single = {**INNER_PRODUCT, "coarse_in": 1, "coarse_out": 1}
    assert cost("inner_product", single)["DSP"] == 0.5
    assert cost("inner_product", single, reference_exact=False)["DSP"] == 1


def test_global_pooling_takes_in_the_whole_feature_map() -> None:
    layer = {**SIMPLE, "acc_width": 32}
    exact = cost("global_pool", layer)
    physical = cost("global_pool", layer, reference_exact=False)
    assert exact["latency"] == 8 / 4
    assert physical["latency"] == exact["pipeline_depth"] == 36 * 2
    assert exact["DSP"] == 4 * 2


@pytest.mark.parametrize(("kind", "dsp"), [("relu", 0), ("hard_swish", 20), ("hard_sigmoid", 20)])
def test_activations_by_hand(kind: str, dsp: int) -> None:
    expected = {"latency": 72, "pipeline_depth": 0, "DSP": dsp, "BRAM": 0}
    assert cost(kind, SIMPLE) == {**expected, "LUT": 4 * 16, "FF": 4 * 35}


def test_multiplying_three_inputs_takes_two_multipliers() -> None:
    layer = {**SIMPLE, "ports_in": 3, "op_type": "mul", "broadcast": 0, "buffer_depth": 64}
    assert cost("eltwise", layer)["DSP"] == 4
    assert cost("eltwise", layer, reference_exact=False)["DSP"] == 8
    added = {**layer, "op_type": "add"}
    assert cost("eltwise", added, reference_exact=False)["DSP"] == 0
    # 64 words of 16 bits stay in LUTs, 65 do not: a block for each input and stream.
    assert cost("eltwise", layer)["BRAM"] == 0
    assert cost("eltwise", {**layer, "buffer_depth": 65})["BRAM"] == 12


def test_a_concat_by_hand() -> None:
    layer = {**SIMPLE, "channels": [4, 12], "ports_in": 2, "buffer_depth": 4096}
    expected = {"latency": 36 * (1 + 3), "pipeline_depth": 0, "DSP": 0, "LUT": 0, "FF": 0}
    # 4096 words of 16 bits: 4 blocks of 1024 x 18.
    assert cost("concat", layer) == {**expected, "BRAM": 2 * 4 * 4}


def test_channels_of_zeros_cost_the_cycles_in_which_they_pass() -> None:
    layer = {**SIMPLE, "zeros_before": 4, "zeros_behind": 12}
    nothing = dict.fromkeys(("pipeline_depth", "DSP", "BRAM", "LUT", "FF"), 0)
    assert cost("pad_channels", layer) == {"latency": 36 * (8 + 4 + 12) / 4, **nothing}
    with pytest.raises(UserError, match="coarse is 4; accepted: what divides zeros_before, here 2"):
        cost("pad_channels", {**layer, "zeros_before": 2})


def test_a_squeeze_by_hand() -> None:
    layer = {**SIMPLE, "channels": 12, "coarse_in": 4, "coarse_out": 6}
    assert cost("squeeze", layer)["latency"] == 36 * 3
    assert cost("squeeze", layer)["BRAM"] == 0


def test_pooling_by_hand() -> None:
    layer = {name: value for name, value in CONVOLUTION.items() if name in LAYERS["pooling"].inputs}
    found = cost("pooling", {**layer, "coarse": 2})
    assert found["latency"] == 64 * 2
    assert found["pipeline_depth"] == (2 * 8 + 2) * 2
    assert (found["DSP"], found["BRAM"]) == (0, 0)


@pytest.mark.parametrize("kind", GOLDEN)
def test_physical_costs_are_no_less_but_for_inner_products(kind: str, shared: Path) -> None:
    golden = pd.read_parquet(shared / "fpga" / f"golden_layers_{kind}.parquet")
    exact, physical = (evaluate_layers(kind, golden, reference_exact=e) for e in (True, False))
    assert (physical["DSP"] >= exact["DSP"]).all()
    faster = physical["latency"] < exact["latency"]
    assert faster.any() == (kind == "inner_product")
    assert (physical["DSP"] % 1 == 0).all()
    same = [name for name in COSTS if name not in ("latency", "DSP")]
    pd.testing.assert_frame_equal(physical[same], exact[same])
