from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brpnas.devices.fpga import COSTS, LAYERS, evaluate_layers
from brpnas.errors import UserError

RELU: dict[str, Any] = {"rows": 6, "cols": 6, "channels": 8, "coarse": 4, "data_width": 16}
WINDOW = {
    **dict.fromkeys(("kernel_rows", "kernel_cols"), 3),
    **dict.fromkeys(("stride_rows", "stride_cols"), 1),
    **dict.fromkeys(("pad_top", "pad_right", "pad_bottom", "pad_left"), 0),
}
CONVOLUTION: dict[str, Any] = {
    **{"rows": 8, "cols": 8, "channels": 12, "filters": 16, "groups": 4, "has_bias": 0},
    **{**WINDOW, "coarse_in": 3, "coarse_out": 4, "coarse_group": 2, "fine": 3},
    **{"data_width": 16, "weight_width": 16, "acc_width": 30},
}
CONCAT: dict[str, Any] = {**RELU, "channels": [8, 16], "ports_in": 2, "buffer_depth": 64}
ELTWISE: dict[str, Any] = {
    **RELU,
    **{"ports_in": 2, "op_type": "add", "broadcast": False, "buffer_depth": 2},
}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def test_the_table_that_comes_back() -> None:
    layers = table(RELU, {**RELU, "coarse": 8}).set_index(pd.Index(["a", "b"]))
    layers["unrelated"] = "text"
    found = evaluate_layers("relu", layers)
    assert list(found.columns) == list(COSTS)
    assert list(found.index) == ["a", "b"]
    assert list(found["latency"]) == [72, 36]
    assert {name: str(kind) for name, kind in found.dtypes.items()} == {
        **dict.fromkeys(COSTS, "int64"),
        "DSP": "float64",
    }
    assert list(layers.columns) == [*RELU, "unrelated"]


@pytest.mark.parametrize("kind", LAYERS)
def test_no_rows(kind: str) -> None:
    layers = pd.DataFrame({name: pd.Series(dtype=float) for name in LAYERS[kind].inputs})
    found = evaluate_layers(kind, layers)
    assert (len(found), list(found.columns)) == (0, list(COSTS))


def test_rows_do_not_depend_on_where_they_stand() -> None:
    rng = np.random.default_rng(0)
    layers = table(CONVOLUTION).loc[[0] * 20000].reset_index(drop=True)
    layers["coarse_in"] = rng.choice([1, 3], len(layers))
    layers["rows"] = rng.integers(3, 200, len(layers))
    layers["has_bias"] = rng.integers(0, 2, len(layers)).astype(bool)
    layers["fine"] = rng.choice([1.0, 3.0, 9.0], len(layers))  # as floats
    order = rng.permutation(len(layers))
    found = evaluate_layers("convolution", layers)
    shuffled = evaluate_layers("convolution", layers.iloc[order])
    pd.testing.assert_frame_equal(shuffled, found.iloc[order])
    assert found["latency"].nunique() > 500


def test_nullable_columns() -> None:
    layers = table(RELU).convert_dtypes()
    assert list(evaluate_layers("relu", layers)["latency"]) == [72]
    layers["rows"] = pd.array([None], dtype="Int64")
    with pytest.raises(UserError, match="rows is nan; accepted"):
        evaluate_layers("relu", layers)


BAD: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("relu", RELU, {"coarse": 3}, "coarse is 3; accepted: what divides channels, here 8"),
    ("relu", RELU, {"coarse": 16}, "coarse is 16; accepted: what divides channels"),
    ("relu", RELU, {"coarse": 0}, "coarse is 0; accepted: a whole number from 1 to 1048576"),
    ("relu", RELU, {"rows": -6}, "rows is -6; accepted: a whole"),
    ("relu", RELU, {"rows": 6.5}, "rows is 6.5; accepted: a whole"),
    ("relu", RELU, {"rows": np.nan}, "rows is nan; accepted: a whole"),
    ("relu", RELU, {"rows": np.inf}, "rows is inf; accepted: a whole"),
    ("relu", RELU, {"rows": 1048577}, "rows is 1048577; accepted: a whole"),
    ("relu", RELU, {"data_width": 65}, "data_width is 65; accepted: a whole number from 1 to 64"),
    ("convolution", CONVOLUTION, {"groups": 5}, "groups is 5; accepted: what divides channels"),
    ("convolution", CONVOLUTION, {"groups": 3}, "what divides filters, here 16"),
    ("convolution", CONVOLUTION, {"coarse_in": 2}, "what divides channels / groups, here 3"),
    ("convolution", CONVOLUTION, {"coarse_out": 8}, "what divides filters / groups, here 4"),
    ("convolution", CONVOLUTION, {"coarse_group": 3}, "what divides groups, here 4"),
    ("convolution", CONVOLUTION, {"fine": 2}, "what divides kernel_rows x kernel_cols, here 9"),
    ("convolution", CONVOLUTION, {"pad_top": -1}, "pad_top is -1; accepted: a whole number from 0"),
    ("convolution", CONVOLUTION, {"has_bias": 2}, "accepted: a whole number from 0 to 1"),
    ("convolution", CONVOLUTION, {"rows": 2}, "kernel_rows is 3; accepted: up to 2, the padded"),
    ("convolution", CONVOLUTION, {"cols": 1}, "kernel_cols is 3; accepted: up to 1, the padded"),
    ("convolution", CONVOLUTION, {"block_floating_point": 0.5}, "block_floating_point is 0.5"),
    ("relu", RELU, {"rows": 2**20, "cols": 2**20, "channels": 2**20}, "its latency is above 2^53"),
    ("eltwise", ELTWISE, {"op_type": "sub"}, "op_type is sub; accepted: add or mul"),
    ("eltwise", ELTWISE, {"ports_in": 1}, "ports_in is 1; accepted: a whole number from 2"),
    ("concat", CONCAT, {"channels": [8, 8, 8]}, "channels is [8, 8, 8]; accepted: a list"),
    ("concat", CONCAT, {"channels": 24}, "channels is 24; accepted: a list of the channels of"),
    ("concat", CONCAT, {"channels": [8, 0]}, "channels is [8, 0]; accepted in it: a whole number"),
    ("concat", CONCAT, {"channels": [8, 6]}, "what divides channels of every port, here 2"),
]


@pytest.mark.parametrize(("kind", "layer", "change", "reason"), BAD)
def test_bad_rows(kind: str, layer: dict[str, Any], change: dict[str, Any], reason: str) -> None:
    layers = table({"block_floating_point": 0, **layer}, {"block_floating_point": 0, **layer})
    layers.index = pd.Index(["first", "second"])
    for name, value in change.items():
        layers[name] = pd.Series([layer.get(name, 0), value], index=layers.index)
    with pytest.raises(UserError) as error:
        evaluate_layers(kind, layers)
    assert str(error.value).startswith(f"{kind} layers, row second: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_the_row_of_a_later_block_is_named() -> None:
    layers = table(RELU).loc[[0] * 10000].reset_index(drop=True)
    layers.loc[9876, "coarse"] = 5
    with pytest.raises(UserError, match="row 9876: coarse is 5"):
        evaluate_layers("relu", layers)


def test_an_unknown_kind() -> None:
    with pytest.raises(
        UserError, match=r"unknown kind of layer 'conv'.*Choices: convolution, inner"
    ):
        evaluate_layers("conv", table(CONVOLUTION))


@pytest.mark.parametrize("kind", LAYERS)
def test_missing_columns(kind: str) -> None:
    for name in LAYERS[kind].inputs:
        others = [other for other in LAYERS[kind].inputs if other != name]
        with pytest.raises(UserError, match=f"{kind} layers: column '{name}' is missing; needed: "):
            evaluate_layers(kind, pd.DataFrame(columns=others))


def test_columns_of_text() -> None:
    with pytest.raises(UserError, match="relu layers: column 'rows' holds values of type str"):
        evaluate_layers("relu", table({**RELU, "rows": "6"}))
    with pytest.raises(UserError, match="concat layers: channels must be lists of a whole number"):
        evaluate_layers("concat", table({**CONCAT, "channels": ["a", "b"]}))


def test_the_page_names_every_kind_and_column() -> None:
    page = (Path(__file__).parents[3] / "docs" / "fpga.md").read_text()
    for kind, layer in LAYERS.items():
        for name in (kind, *layer.inputs, *layer.optional):
            assert f"`{name}`" in page, name
