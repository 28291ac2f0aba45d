"""LUTs and flip-flops of the modules that layers are made of.

A module's count is a sum of features, each with a coefficient that is not negative. The features
are what the circuit grows with (bits of its registers, inputs of its multiplexers, depth of its
counters); the coefficients, in ``coefficients.json``, are fitted by ``benchmarks/fpga_fit.py``.
The file's card says to what, and how large the error is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.memory import fifo_blocks, queue_units

__all__ = ["FEATURES", "RESOURCES", "ModuleUse", "card", "count_logic"]

Array = NDArray[np.float64]
Sizes = Mapping[str, Array]
Feature = Callable[[Sizes], Array]

RESOURCES = ("LUT", "FF")
_FILE = Path(__file__).with_name("coefficients.json")


@dataclass(frozen=True)
class ModuleUse:
    """A module in every row's layer.

    Attributes:
        module: its name in ``FEATURES``.
        sizes: what its features are computed from, each of shape (rows,).
        copies: how many of it, shape (rows,): 0 where the layer does without.
    """

    module: str
    sizes: Sizes
    copies: Array


def _log2(values: Array) -> Array:
    """Return the bits of a counter of so many values."""
    return np.ceil(np.log2(values))


def _window_queues(m: Sizes) -> Array:
    """LUT RAM of a sliding window's queues, as far as they are not in block RAM."""
    line, line_width = m["channels"] * m["cols"], (m["kernel_rows"] - 1) * m["bits"]
    pixel, pixel_width = m["channels"], (m["kernel_cols"] - 1) * m["bits"]
    lines = np.where(fifo_blocks(line, line_width) == 0, queue_units(line, line_width), 0)
    pixels = np.where(fifo_blocks(pixel, pixel_width) == 0, queue_units(pixel, pixel_width), 0)
    frame = queue_units(np.ones_like(line), m["bits"])
    return lines + m["kernel_rows"] * (pixels + m["kernel_cols"] * frame)


def _buffer_queues(m: Sizes) -> Array:
    """LUT RAM of a squeeze's queues, as far as they are not in block RAM."""
    words = m["buffer"] / m["in"] + 1
    units = np.where(fifo_blocks(words, m["bits"]) == 0, queue_units(words, m["bits"]), 0)
    return m["buffer"] * units


def _one(m: Sizes) -> Array:
    return np.ones_like(next(iter(m.values())))


# Sizes: `bits` of one word of all streams together, `acc_bits` of one accumulator of each,
# `lanes` of multipliers, `channels` and `filters` that one stream or accumulator works off in turn.
FEATURES: dict[str, dict[str, Feature]] = {
    "pad": {"1": _one},
    "relu": {"1": _one},
    "eltwise": {"1": _one},
    "split": {"1": _one},
    "sliding_window": {
        "queues": _window_queues,
        "bits": lambda m: m["bits"],
        "bits x lines": lambda m: m["bits"] * (m["kernel_rows"] - 1),
        "bits x pixels": lambda m: m["bits"] * m["kernel_rows"] * (m["kernel_cols"] - 1),
        "counters": lambda m: _log2(m["channels"]) + _log2(m["cols"]),
    },
    "pool": {
        "bits": lambda m: m["bits"],
        "bits x kernel": lambda m: m["bits"] * m["kernel_rows"] * m["kernel_cols"],
        "1": _one,
    },
    "global_pool": {
        "data_width": lambda m: m["data_width"],
        "acc_width": lambda m: m["acc_width"],
        "acc_width x channels": lambda m: m["acc_width"] * m["channels"],
    },
    "squeeze": {
        "buffer bits": lambda m: m["bits"] * m["buffer"],
        "output bits": lambda m: m["bits"] * m["out"],
        "queues": _buffer_queues,
        "buffer": lambda m: m["buffer"],
        "in": lambda m: m["in"],
        "1": _one,
    },
    "fork": {
        "words": lambda m: m["words"],
        "bits": lambda m: m["words"] * m["data_width"],
        "1": _one,
    },
    "vector_dot": {
        "product bits": lambda m: m["acc_bits"] * m["fine"],
        "sum bits": lambda m: m["acc_bits"],
        "lanes": lambda m: m["lanes"],
        "fine": lambda m: m["fine"],
        "1": _one,
    },
    "accum": {
        "sum bits": lambda m: m["acc_bits"],
        "sum bits x filters": lambda m: m["acc_bits"] * m["filters"],
        "lanes": lambda m: m["lanes"],
        "channels": lambda m: m["channels"],
        "filters": lambda m: m["filters"],
        "1": _one,
    },
    "glue": {
        "tree bits": lambda m: m["acc_bits"] * m["ways"],
        "sum bits": lambda m: m["acc_bits"],
        "ways": lambda m: m["ways"],
        "1": _one,
    },
    "bias": {"bits": lambda m: m["bits"]},
}


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return content


def card() -> dict[str, Any]:
    """Return what the coefficients were fitted to, and how large the error is."""
    found: dict[str, Any] = _content()["card"]
    return found


def count_logic(uses: tuple[ModuleUse, ...], rows: int) -> dict[str, Array]:
    """Return the LUTs and flip-flops of layers.

    Args:
        uses: the modules of every row's layer.
        rows: how many rows.

    Returns:
        For each of ``RESOURCES`` an array of shape (rows,) of whole numbers.
    """
    total = {resource: np.zeros(rows) for resource in RESOURCES}
    for use in uses:
        values: dict[str, Array] = {}  # what both resources grow with is computed once
        for resource in RESOURCES:
            terms = _content()["modules"][use.module][resource]
            count = np.zeros(rows)
            for name, coefficient in terms.items():
                if name not in values:
                    values[name] = FEATURES[use.module][name](use.sizes)
                count += coefficient * values[name]
            total[resource] += use.copies * np.rint(count)
    return total
