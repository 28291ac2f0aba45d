"""Made-up files in the official form, written here from its published description."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets.formats.nasbench101 import read
from brpnas.errors import UserError

# 0 -> 1 -> 2 -> 3 and 0 -> 2, as rows of digits.
MATRIX = "0110001000010000"
OPERATIONS = "input,conv3x3-bn-relu,conv1x1-bn-relu,output"
ARCH = "39:01"


def varint(value: int) -> bytes:
    low = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(byte | 128 for byte in low[:-1]), low[-1]])


def evaluation(epoch: float, time_s: float, valid: float, test: float) -> bytes:
    """EvaluationData, with the fields that are not read."""
    doubles = [(1, epoch), (2, time_s), (3, 1.0), (4, valid), (5, test)]
    message = b"".join(bytes([n << 3 | 1]) + struct.pack("<d", x) for n, x in doubles)
    return message + bytes([6 << 3 | 2, 4]) + b"ckpt"


def row(epochs: int, valid: float, test: float, /, **changed: Any) -> list[Any]:
    """One run as the file has it: evaluated at the start, halfway and at the end."""
    stages = [(0, 0, 0.1, 0.1), (epochs / 2, 50.0, 0.5, 0.5), (epochs, 100.0, valid, test)]
    message = b""
    for stage in stages:
        inner = evaluation(*stage)
        message += bytes([1 << 3 | 2]) + varint(len(inner)) + inner
    message += bytes([2 << 3]) + varint(8_555_530) + bytes([3 << 3 | 1]) + struct.pack("<d", 9.0)
    entries = {
        "hash": "0" * 32,
        "epochs": epochs,
        "matrix": MATRIX,
        "operations": OPERATIONS,
        "metrics": base64.b64encode(message).decode(),
    }
    return list({**entries, **changed}.values())


def record(content: object) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + b"crc1" + text + b"crc2"


def write(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(map(record, rows)))
    return path


def test_runs_are_averaged_by_epochs(tmp_path: Path) -> None:
    other = {"matrix": "010001000", "operations": "input,maxpool3x3,output"}
    rows = [
        row(4, 0.3, 0.25),
        row(108, 0.92, 0.9),
        row(108, 0.94, 0.91),
        row(108, 0.8, 0.7, **other),
    ]
    table = read(write(tmp_path / "nasbench_full.tfrecord", *rows))
    assert table.archs == [ARCH, "5:2"]
    assert table.card.space == "nasbench101"
    expected = {
        "cifar10_test_acc_108ep_pct": [90.5, 70],
        "cifar10_test_acc_4ep_pct": [25, np.nan],
        "cifar10_valid_acc_108ep_pct": [93, 80],
        "cifar10_valid_acc_4ep_pct": [30, np.nan],
        "params_m": [8.55553, 8.55553],
        "train_time_s_108ep": [100, 100],
        "train_time_s_4ep": [100, np.nan],
    }
    assert table.metrics == list(expected)
    for column, values in expected.items():
        np.testing.assert_allclose(table.metric(column), values)


def test_isomorphic_cells_are_one(tmp_path: Path) -> None:
    beside = "0110000100010000"
    ops = ["input,maxpool3x3,conv3x3-bn-relu,output", "input,conv3x3-bn-relu,maxpool3x3,output"]
    rows = [row(108, 0.5, 0.5, matrix=beside, operations=names) for names in ops]
    assert read(write(tmp_path / "a.tfrecord", *rows)).archs == ["51:02"]


@pytest.mark.parametrize("lines", [False, True])
def test_json_fields(tmp_path: Path, lines: bool) -> None:
    run = {
        "module_adjacency": [[int(digit) for digit in MATRIX[i : i + 4]] for i in (0, 4, 8, 12)],
        "module_operations": OPERATIONS.split(","),
        "trainable_parameters": 8_555_530,
        "training_time": 100.0,
        "train_accuracy": 1.0,
        "validation_accuracy": 0.92,
        "test_accuracy": 0.9,
    }
    runs = [run, {**run, "validation_accuracy": 0.94}, {**run, "epochs": 4, "test_accuracy": None}]
    path = tmp_path / "queried.json"
    path.write_text("\n".join(map(json.dumps, runs)) if lines else json.dumps(runs, indent=1))
    table = read(path)
    assert table.archs == [ARCH]
    assert table.metric("cifar10_valid_acc_108ep_pct").tolist() == pytest.approx([93])
    assert table.metric("cifar10_valid_acc_4ep_pct").tolist() == pytest.approx([92])
    assert "cifar10_test_acc_4ep_pct" not in table.metrics
    assert table.metric("params_m").tolist() == pytest.approx([8.55553])


def test_columns_of_real_cells(shared: Path) -> None:
    path = shared / "data" / "nasbench101.parquet"
    source, table = pd.read_parquet(path), read(path)
    assert table.archs == [f"{bits}:{ops}" for bits, ops in zip(source.edge_bits, source.ops)]  # noqa: B905
    assert table.metric("val_acc_108").tolist() == source["val_acc_108"].tolist()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"matrix": "010"}, "a matrix of 3 entries is not square"),
        ({"matrix": "0120" + MATRIX[4:]}, "row 0, column 2 of the matrix is 2"),
        ({"operations": "input,output"}, "matrix of 2 operations must have 2 rows"),
        ({"operations": OPERATIONS.replace("1x1", "5x5")}, "unknown operation 'conv5x5-bn-relu'"),
        ({"epochs": None}, "int"),
        ({"metrics": ""}, "no evaluation"),
        ({"metrics": base64.b64encode(b"\x0a\xff").decode()}, "cut off"),
        ({"metrics": base64.b64encode(b"\x0f").decode()}, "unknown kind 7"),
    ],
)
def test_other_content_is_named(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    path = write(tmp_path / "a.tfrecord", row(108, 0.9, 0.9), row(108, 0.9, 0.9, **changed))
    with pytest.raises(UserError, match=rf"a\.tfrecord: record 2: .*{reason}"):
        read(path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = record(row(108, 0.9, 0.9))
    path = tmp_path / "a.tfrecord"
    for length in (5, 12, 40, len(whole) - 1):
        path.write_bytes(whole + whole[:length])
        with pytest.raises(UserError, match="record 2: the file ends in the middle of it"):
            read(path)
    path.write_bytes(b"\x89HDF" * 100)
    with pytest.raises(UserError, match="record 1: not a TFRecord file"):
        read(path)
    for text, reason in (("[{", "not JSON"), ("[{}]", "entry 1: no key"), ("[7]", "entry 1")):
        path = tmp_path / "a.json"
        path.write_text(text)
        with pytest.raises(UserError, match=rf"a\.json: {reason}"):
            read(path)
    path = tmp_path / "a.parquet"
    pd.DataFrame({"edge_bits": [39, 1], "ops": ["01", "1"]}).to_parquet(path)
    with pytest.raises(UserError, match="row 2: cell '1:1': no path"):
        read(path)
    pd.DataFrame({"ops": ["01"]}).to_parquet(path)
    with pytest.raises(UserError, match="no column 'edge_bits'; columns: ops"):
        read(path)
