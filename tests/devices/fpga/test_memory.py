from __future__ import annotations

import numpy as np
import pytest

from brpnas.devices.fpga.memory import fifo_blocks, memory_blocks, queue_units


def row(value: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([float(value)])


@pytest.mark.parametrize(
    ("words", "width", "blocks"),
    [
        (512, 36, 1),
        (513, 36, 2),
        (512, 37, 2),  # the second block holds one bit of each word
        (1024, 18, 1),
        (1024, 19, 2),
        (2048, 9, 1),
        (4096, 4, 1),
        (4096, 3, 1),  # there is no shape of 3 bits
        (8192, 2, 1),
        (16384, 1, 1),
        (16385, 1, 2),
        (33, 1000, 28),
    ],
)
def test_blocks_by_hand(words: int, width: int, blocks: int) -> None:
    assert memory_blocks(row(words), row(width)) == blocks
    assert fifo_blocks(row(words), row(width)) == blocks


def test_small_arrays_take_no_block() -> None:
    assert memory_blocks(row(1023), row(1)) == 0
    assert memory_blocks(row(1024), row(1)) == 1
    assert memory_blocks(row(2), row(512)) == 15
    assert fifo_blocks(row(1024), row(1)) == 0
    assert fifo_blocks(row(1025), row(1)) == 1
    assert fifo_blocks(row(32), row(512)) == 0
    assert memory_blocks(row(8), row(0)) == 0


@pytest.mark.parametrize(
    ("words", "width", "units"),
    [(2, 15, 1), (2, 16, 2), (32, 8, 1), (33, 7, 1), (65, 8, 4), (999, 0, 0)],
)
def test_queues_in_luts_by_hand(words: int, width: int, units: int) -> None:
    assert queue_units(row(words), row(width)) == units


def test_a_row_does_not_depend_on_the_others() -> None:
    words, width = (np.array(values, dtype=float) for values in ([7, 600, 40], [800, 20, 70]))
    alone = [memory_blocks(row(w), row(b))[0] for w, b in zip(words, width, strict=True)]
    assert list(memory_blocks(words, width)) == alone
