from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets import Card, Table, content_sha256, read_table
from brpnas.errors import UserError


def table(**columns: object) -> Table:
    first = next(iter(columns.values()), [1.0, 2.0])
    archs = [f"net{i}" for i in range(len(first))]  # type: ignore[arg-type]
    return Table(pd.DataFrame({"arch": archs, **columns}), name="lab.csv")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pd.DataFrame({"net": ["a"], "m": [1]}), "no column 'arch'; columns: net, m"),
        (pd.DataFrame({"arch": []}), "no rows"),
        (pd.DataFrame({"arch": ["a", "b", "c", "b"]}), "'b' appears twice, in rows 2 and 4"),
        (pd.DataFrame({"arch": ["a", None]}), "'arch' of row 2 is"),
        (pd.DataFrame({"arch": [7]}), "'arch' of row 1 is 7, not text"),
        (pd.DataFrame([["a", 1, 2]], columns=["arch", "m", "m"]), "column 'm' appears twice"),
    ],
)
def test_a_frame_that_is_no_table(frame: pd.DataFrame, reason: str) -> None:
    with pytest.raises(UserError, match=f"^lab.csv: .*{reason}"):
        Table(frame, name="lab.csv")


def test_metric_turns_missing_and_infinite_into_nan() -> None:
    values = table(latency_ms=[1.5, None, np.inf, -np.inf]).metric("latency_ms")
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, [1.5, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    "column",
    [
        pd.array([1, 2, None], dtype="Int64"),
        pd.Series([1, 2, None], dtype=object),
        ["1", "2", None],
    ],
)
def test_metric_reads_every_kind_of_number(column: object) -> None:
    np.testing.assert_array_equal(table(macs=column).metric("macs"), [1, 2, np.nan])


def test_metric_does_not_hand_out_the_table_itself() -> None:
    lab = table(latency_ms=[1.0, 2.0])
    lab.metric("latency_ms")[:] = 0
    assert lab.frame["latency_ms"].tolist() == [1.0, 2.0]


def test_metric_names_the_column_and_the_choices() -> None:
    lab = table(latency_ms=[1.0], energy_mj=[2.0])
    with pytest.raises(UserError, match=r"column of lab.csv 'latency'.*Choices: latency_ms, en"):
        lab.metric("latency")
    with pytest.raises(UserError, match=r"unknown column of lab\.csv 'arch'"):
        lab.metric("arch")


@pytest.mark.parametrize("bad", ["12 ms", ["list"], {"a": 1}])
def test_metric_names_the_first_row_that_is_no_number(bad: object) -> None:
    lab = table(latency_ms=[None, "3", bad, "x"], macs=[1, 2, 3, 4])
    with pytest.raises(
        UserError, match=r"lab\.csv: column 'latency_ms' is not numeric: row 3 holds"
    ):
        lab.metric("latency_ms")
    assert lab.metric("macs").sum() == 10  # the other column is of use all the same


def test_dates_are_no_numbers() -> None:
    lab = table(day=pd.to_datetime(["2020-01-01", "2020-01-02"]))
    with pytest.raises(UserError, match="'day' is not numeric: row 1 holds '2020-01-01"):
        lab.metric("day")
    assert lab.describe().empty


def test_metric_needs_values() -> None:
    with pytest.raises(UserError, match="'m' has values in 0 of 2 rows"):
        table(m=[None, np.inf]).metric("m")
    with pytest.raises(UserError, match="'m' has values in 2 of 3 rows; at least 3 needed"):
        table(m=[1.0, 2.0, None]).metric("m", minimum_rows=3)


@pytest.mark.parametrize("column", ["latency_ms", "energy_mj_phone", "params_m", "model_bytes"])
def test_costs_and_sizes_that_are_not_positive_are_refused(column: str) -> None:
    values = [5.0, 0.0, None, -1.0, *[7.0] * 20, *[-0.0] * 4]
    message = rf"^lab\.csv: column '{column}' .* in 6 of 28 rows \(row 2, 4, 25, 26, 27, \.\.\.\)"
    with pytest.raises(UserError, match=message):
        table(**{column: values}).judged(column)
    assert np.isfinite(table(**{column: values}).metric(column)).sum() == 27


def test_other_metrics_may_be_zero_or_negative() -> None:
    gains = table(gain_ms=[-3.0, 0.0, -1.0, None]).judged("gain_ms")
    assert gains.rows.tolist() == [True, True, True, False]
    assert (gains.missing, gains.empty) == (1, 0)


def test_judged_leaves_out_empty_networks_of_costs_only() -> None:
    values = [100.0, 100.0, 2.0, 1.99, None]
    costs = table(latency_ms=values).judged("latency_ms")
    assert costs.rows.tolist() == [True, True, True, True, False]  # median is 51
    costs = table(energy_mj=[*values, 100.0]).judged("energy_mj")  # median is 100
    assert costs.rows.tolist() == [True, True, True, False, False, True]
    assert (costs.missing, costs.empty) == (1, 1)
    accuracy = table(test_acc_pct=[*values, 100.0]).judged("test_acc_pct")
    assert accuracy.rows.sum() == 5
    assert (accuracy.missing, accuracy.empty) == (1, 0)


def test_rows_finds_archs_in_any_order() -> None:
    lab = table(m=[1, 2, 3])
    rows = lab.rows(["net2", "net0", "net2"])
    assert rows.dtype == np.int64
    assert rows.tolist() == [2, 0, 2]
    assert lab.rows([]).tolist() == []
    with pytest.raises(UserError, match=r"lab\.csv: no row for architecture 'net7'"):
        lab.rows(["net1", "net7", "net8"])


def test_describe_counts_numeric_columns() -> None:
    summary = table(m=[3.0, None, 1.0], note=["a", "b", "c"], none=[None] * 3).describe()
    assert summary.index.tolist() == ["m", "none"]
    assert summary.loc["m"].tolist() == [2, 1, 1.0, 2.0, 3.0]
    assert summary.loc["none", "missing"] == 3


def test_hash_sees_content_not_type() -> None:
    frame = table(m=[1, 2]).frame
    same = frame.astype({"m": "float32"})
    assert content_sha256(frame) == content_sha256(same)
    for other in (
        frame.assign(m=[1, 3]),
        frame.assign(arch=["net0", "net2"]),
        frame.rename(columns={"m": "n"}),
        frame[::-1],
    ):
        assert content_sha256(frame) != content_sha256(other)


def test_intact_tells_an_edited_table() -> None:
    frame = table(m=[1, 2]).frame
    card = Card(sha256=content_sha256(frame))
    assert Table(frame).intact() is None
    assert Table(frame, card).intact() is True
    assert Table(frame.assign(m=[1, 5]), card).intact() is False


def test_real_table(shared: Path) -> None:
    real = read_table(shared / "data" / "nasbench201.parquet")
    assert len(real) == 15625
    assert "arch_index" in real.metrics
    column = "latency_ms_hwnas_raspi4"
    judged = real.judged(column)
    assert 200 <= judged.empty <= 300
    assert judged.rows.sum() + judged.missing + judged.empty == len(real)
    assert real.rows(real.archs[5:8]).tolist() == [5, 6, 7]
    assert set(real.describe().index) == set(real.metrics)
