"""What a table of layers costs on an FPGA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.devices.fpga.layers import LAYERS, OPERATIONS, padded
from brpnas.devices.fpga.logic import count_logic
from brpnas.errors import DAMAGE, UserError, one_line, unknown_name

__all__ = ["COSTS", "evaluate_layers", "read_columns"]

Array = NDArray[np.float64]

COSTS = ("latency", "pipeline_depth", "DSP", "BRAM", "LUT", "FF")

# So many rows at a time that their columns stay in the processor's cache.
_BLOCK = 8192
# Below it float64 holds every whole number.
_LARGEST = 2.0**53


@dataclass(frozen=True)
class _Range:
    low: int
    high: int

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def holds(self, values: Array) -> NDArray[np.bool_]:
        whole: NDArray[np.bool_] = values == np.floor(values)
        return whole & (values >= self.low) & (values <= self.high)


_SIZE = _Range(1, 2**20)
_RANGES = {
    **dict.fromkeys(("pad_top", "pad_right", "pad_bottom", "pad_left"), _Range(0, 2**20)),
    **dict.fromkeys(("zeros_before", "zeros_behind"), _Range(0, 2**20)),
    **dict.fromkeys(("has_bias", "broadcast", "block_floating_point"), _Range(0, 1)),
    **dict.fromkeys(("data_width", "weight_width", "acc_width"), _Range(1, 64)),
    **dict.fromkeys(("ports_in", "ports_out"), _Range(2, 1024)),
}
_LISTS = (list, tuple, np.ndarray)
_SUMMARIES = ("channels", "common_channels")  # of a concat's list of channels


def evaluate_layers(
    kind: str, table: pd.DataFrame, *, reference_exact: bool = True
) -> pd.DataFrame:
    """Return what layers cost, one row for each layer and folding.

    Args:
        kind: of the layers, a name in ``LAYERS``.
        table: their sizes and foldings: the columns in ``LAYERS[kind].inputs``, and those of
            ``LAYERS[kind].optional`` that are there; others are ignored. Shape (rows, columns).
        reference_exact: count as the reference (fpgaConvNet) does where it is odd; else as the
            circuit works. They differ in the latency of ``global_pool`` and ``inner_product``, and
            in the DSP slices of ``inner_product`` and ``eltwise``; see ``layers.py``.

    Returns:
        A table with the same index: ``latency`` (cycles from one feature map to the next),
        ``pipeline_depth`` (cycles), ``DSP`` (slices; halves in the reference's inner products),
        ``BRAM`` (blocks of 18 Kbit), ``LUT``, ``FF``. All but ``DSP`` are int64.

    Raises:
        UserError: no such kind, a column is missing, or a value is not what the column takes;
            names kind, row and column.
    """
    columns = read_columns(kind, table)
    found = {name: np.empty(len(table)) for name in COSTS}
    for start in range(0, len(table), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = {name: values[part] for name, values in columns.items()}
        block = _Block(kind, table, start)
        _check_sizes(block, rows)
        _check_folds(block, rows)
        costs = LAYERS[kind].cost(rows, reference_exact)
        logic = count_logic(costs.modules, len(costs.latency))
        values = (costs.latency, costs.depth, costs.dsp, costs.bram, logic["LUT"], logic["FF"])
        for name, value in zip(COSTS, values, strict=True):
            block.require(value < _LARGEST, f"its {name} is above 2^53")
            found[name][part] = value
    return pd.DataFrame(
        {
            name: values if name == "DSP" else values.astype(np.int64)
            for name, values in found.items()
        },
        index=table.index,
    )


def read_columns(kind: str, table: pd.DataFrame) -> dict[str, Array]:
    """Return the columns of a table that a kind of layer is computed from, as numbers.

    Args:
        kind: of the layers, a name in ``LAYERS``.
        table: see ``evaluate_layers``.

    Returns:
        An array of shape (rows,) for each column. ``op_type`` counts multipliers; where
        ``channels`` is a list, it is their sum, and ``common_channels`` what divides all of them.

    Raises:
        UserError: no such kind, a column is missing or does not hold numbers.
    """
    if kind not in LAYERS:
        raise unknown_name("kind of layer", kind, LAYERS)
    layer = LAYERS[kind]
    missing = [name for name in layer.inputs if name not in table]
    if missing:
        raise UserError(
            f"{kind} layers: column '{missing[0]}' is missing; needed: {', '.join(layer.inputs)}"
        )
    block = _Block(kind, table)
    columns = {name: np.full(len(table), value) for name, value in layer.optional.items()}
    for name in (*layer.inputs, *(name for name in layer.optional if name in table)):
        column = table[name]
        if name == "op_type":
            columns[name] = column.map(OPERATIONS).to_numpy(dtype=np.float64)
            accepted = " or ".join(OPERATIONS)
            block.require(columns[name] >= 0, f"op_type is {{}}; accepted: {accepted}", column)
        elif kind == "concat" and name == "channels":
            columns.update(_ports(block, table))
        elif column.dtype.kind not in "iufb":
            raise UserError(
                f"{kind} layers: column '{name}' holds values of type {column.dtype}; accepted: "
                f"{_RANGES.get(name, _SIZE)}"
            )
        else:
            columns[name] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return columns


@dataclass(frozen=True)
class _Block:
    """Rows of a user's table, for errors: ``start`` is the first of them."""

    kind: str
    table: pd.DataFrame
    start: int = 0

    def require(
        self, good: NDArray[np.bool_], problem: str, *shown: NDArray[Any] | pd.Series[Any]
    ) -> None:
        """Check that all rows are good.

        Args:
            good: shape (rows,).
            problem: what is wrong, a format of the first bad row's values.
            shown: these values, each of shape (rows,).
        """
        if not good.all():
            row = int(np.argmin(good))
            label = self.table.index[self.start + row]
            text = problem.format(*(np.asarray(values)[row] for values in shown))
            raise UserError(one_line(f"{self.kind} layers, row {label}: {text}"))


def _ports(block: _Block, table: pd.DataFrame) -> dict[str, Array]:
    """Return what the channels of a concat's ports add up to, and what divides all of them."""
    ports, counts = table["channels"], table["ports_in"].to_numpy()
    lengths = np.array([len(row) if isinstance(row, _LISTS) else 0 for row in ports], dtype=np.intp)
    block.require(
        (lengths == counts) & (lengths > 0),
        "channels is {}; accepted: a list of the channels of each input, here {} of them",
        ports,
        counts,
    )
    if not len(table):
        return {name: np.empty(0) for name in _SUMMARIES}
    try:
        channels = np.concatenate(ports.tolist()).astype(np.float64).reshape(lengths.sum())
    except DAMAGE:
        raise UserError(f"concat layers: channels must be lists of {_SIZE}") from None
    starts = np.cumsum(lengths) - lengths
    good = np.logical_and.reduceat(_SIZE.holds(channels), starts)
    block.require(good, f"channels is {{}}; accepted in it: {_SIZE}", ports)
    common = np.gcd.reduceat(channels.astype(np.int64), starts).astype(np.float64)
    return dict(zip(_SUMMARIES, (np.add.reduceat(channels, starts), common), strict=True))


def _check_sizes(block: _Block, rows: Mapping[str, Array]) -> None:
    for name, values in rows.items():
        if name == "op_type" or (block.kind == "concat" and name in _SUMMARIES):
            continue  # checked where they were read
        accepted = _RANGES.get(name, _SIZE)
        block.require(accepted.holds(values), f"{name} is {{:.12g}}; accepted: {accepted}", values)


def _check_folds(block: _Block, rows: Mapping[str, Array]) -> None:
    for fold in LAYERS[block.kind].folds:
        divisor, dividend = rows[fold.column], fold.value(rows)
        quotient = dividend / divisor
        block.require(
            quotient == np.floor(quotient),
            f"{fold.column} is {{:.12g}}; accepted: what divides {fold.of}, here {{:.12g}}",
            divisor,
            dividend,
        )
    for side in ("rows", "cols"):
        if f"kernel_{side}" in rows:
            room, kernel = padded(rows, side), rows[f"kernel_{side}"]
            block.require(
                kernel <= room,
                f"kernel_{side} is {{:.12g}}; accepted: up to {{:.12g}}, the padded input's {side}",
                kernel,
                room,
            )
