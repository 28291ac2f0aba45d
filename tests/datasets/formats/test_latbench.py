from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from brpnas.datasets.formats.latbench import read
from brpnas.errors import UserError
from brpnas.spaces import NASBench201

# Operations by number, from get_arch_str_from_arch_vector in the source's documentation.
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
VECTOR = (3, 3, 4, 1, 3, 0)


def write(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("key", [VECTOR, str(VECTOR), str(list(VECTOR)), CELL])
def test_every_form_of_key(tmp_path: Path, key: object) -> None:
    table = read(write(tmp_path / "pixel4.pickle", {key: 0.0125}))
    assert table.archs == [CELL]
    assert table.metrics == ["latency_ms"]
    assert table.metric("latency_ms").tolist() == pytest.approx([12.5])
    assert (table.card.device, table.card.space) == ("pixel4", "nasbench201")


def test_every_cell_of_the_space_and_numpy_numbers(tmp_path: Path) -> None:
    space = NASBench201()
    cells = list(space)[::1000]
    content = {
        tuple(map(np.int64, space.encode(cell))): np.float64(i) for i, cell in enumerate(cells)
    }
    table = read(write(tmp_path / "a.pickle", content))
    assert table.archs == [str(cell) for cell in cells]
    assert table.metric("latency_ms").tolist() == [1000.0 * i for i in range(len(cells))]


def test_missing_stays_missing(tmp_path: Path) -> None:
    content = {VECTOR: None, (0,) * 6: float("nan"), (1,) * 6: 1e-3}
    latency_ms = read(write(tmp_path / "a.pickle", content)).metric("latency_ms")
    np.testing.assert_array_equal(latency_ms, [np.nan, np.nan, 1.0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([(VECTOR, [[0.1]])], "expected a dict"),  # raw measurements
        ({VECTOR: 1.0, (1, 2): 1.0}, "entry 2: .* six operations"),
        ({(5,) * 6: 1.0}, "entry 1: .* not 0 to 4"),
        ({(-1,) * 6: 1.0}, "not 0 to 4"),
        ({"__import__('os')": 1.0}, "six operations"),
        ({7: 1.0}, "six operations"),
        ({VECTOR: "invalid"}, "latencies: not a sequence of numbers"),
        ({VECTOR: 1.0, CELL: 2.0}, "appears twice, in rows 1 and 2"),
        ({}, "no rows"),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(UserError, match=rf"a\.pickle.*{reason}"):
        read(write(tmp_path / "a.pickle", content))
