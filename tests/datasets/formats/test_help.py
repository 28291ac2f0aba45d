from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brpnas.datasets.formats.help import read
from brpnas.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, runs: Any) -> Path:
    # In another order than the indices, which must decide.
    order = {runs.CELLS[1]: 1, runs.CELLS[2]: 2, runs.CELLS[0]: 0}
    torch.save(order, tmp_path / "str_arch2idx.pt")
    (tmp_path / "latency").mkdir()
    torch.save([1.5, 2.5, 3.5], tmp_path / "latency" / "pixel2.pt")
    return tmp_path / "latency"


@pytest.mark.parametrize(
    "content",
    [
        [1.5, 2.5, float("nan")],
        torch.tensor([1.5, 2.5, float("nan")]),
        np.array([1.5, 2.5, np.nan]),
        [np.float64(1.5), np.float32(2.5), None],
        {2: None, 0: 1.5, 1: 2.5},
        [torch.tensor(1.5), torch.tensor(2.5), torch.tensor(float("nan"))],
    ],
)
def test_every_kind_of_list(folder: Path, runs: Any, content: object) -> None:
    torch.save(content, folder / "fpga.pt")
    table = read(folder / "fpga.pt")
    assert table.archs == runs.CELLS
    np.testing.assert_array_equal(table.metric("latency_ms_fpga"), [1.5, 2.5, np.nan])


def test_folder_has_a_column_for_each_file(folder: Path) -> None:
    torch.save([3.0, 2.0, 1.0], folder / "1080ti_32.pt")
    table = read(folder)
    assert table.metrics == ["latency_ms_1080ti_32", "latency_ms_pixel2"]
    assert table.metric("latency_ms_1080ti_32").tolist() == [3, 2, 1]
    assert table.card.device == "1080ti_32, pixel2"


def test_order_is_needed(folder: Path, tmp_path: Path) -> None:
    order = tmp_path / "str_arch2idx.pt"
    moved = order.rename(tmp_path / "moved.pt")
    with pytest.raises(UserError, match=r"'str_arch2idx\.pt' of the same data set"):
        read(folder / "pixel2.pt")
    assert len(read(folder, order=moved)) == 3
    for wrong in ([1, 2], {"|a|": 1, "|b|": 2}, {"|a|": 0, "|b|": 0}, {"64:64": 0}):
        torch.save(wrong, moved)
        with pytest.raises(UserError, match=r"moved\.pt: "):
            read(folder, order=moved)


def test_other_content_is_named(folder: Path, tmp_path: Path) -> None:
    path = folder / "pixel2.pt"
    for content, reason in (
        ([1.0], "1 values for 3 architectures"),
        ("text", "not a sequence of numbers"),
        (torch.zeros(3, 1), r"shape \(3, 1\)"),
        ({5: 1.0}, "indices 0, 1, 2"),
        ({"a": 1.0}, "indices 0, 1, 2"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=rf"pixel2\.pt: .*{reason}"):
            read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no \.pt files"):
        read(tmp_path / "empty")
