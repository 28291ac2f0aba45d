from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from brpnas.devices.tflite.graph import UnsupportedError
from brpnas.devices.tflite.windows import Windows


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_as_many_windows_as_in_torch(ceil_mode: bool) -> None:
    for n, k, s in itertools.product(range(3, 10), range(1, 4), range(1, 4)):
        for p in range(k // 2 + 1):
            image = torch.zeros(1, 1, n, n + 1)
            expected = F.avg_pool2d(image, k, s, p, ceil_mode).shape[2:]
            windows = Windows((n, n + 1), (k, k), (s, s), (p, p), (p, p), ceil_mode)
            assert windows.outputs == tuple(expected), (n, k, s, p)


@pytest.mark.parametrize(
    ("n", "k", "s", "p", "ceil_mode", "scheme"),
    [
        (8, 3, 1, 1, False, "SAME"),
        (8, 3, 1, 0, False, "VALID"),
        (9, 3, 2, 1, False, "SAME"),
        (8, 3, 2, 1, False, None),  # TFLite would pad the end only
        (8, 1, 2, 0, False, "VALID"),
        (9, 2, 2, 0, True, "SAME"),
        (8, 2, 2, 0, True, "VALID"),
        (9, 2, 2, 0, False, "VALID"),
        (8, 5, 1, 1, False, None),
    ],
)
def test_scheme(n: int, k: int, s: int, p: int, ceil_mode: bool, scheme: str | None) -> None:
    assert Windows((n, n), (k, k), (s, s), (p, p), (p, p), ceil_mode).scheme == scheme


def test_both_axes_need_the_same_scheme() -> None:
    assert Windows((8, 8), (3, 3), (1, 1), (1, 0), (1, 0)).scheme is None
    assert Windows((8, 8), (3, 1), (1, 1), (1, 0), (1, 0)).scheme == "SAME"


def test_a_window_that_does_not_fit() -> None:
    with pytest.raises(
        UnsupportedError, match="a window of 5 on an image of 2 with padding 1 and 1"
    ):
        _ = Windows((2, 2), (5, 5), (1, 1), (1, 1), (1, 1)).outputs


def test_overhang_is_what_the_last_windows_read_beyond_the_image() -> None:
    assert Windows((8, 9), (3, 3), (2, 2), (1, 1), (1, 1)).overhang == (0, 1)
