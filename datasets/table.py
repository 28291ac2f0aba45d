"""Tables of measured networks: the noun Table."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.costs import COST_PREFIXES, is_positive, not_empty
from brpnas.datasets.card import Card
from brpnas.errors import UserError, unknown_name

__all__ = ["Selection", "Table", "content_sha256"]

_NAMED = 5  # rows that an error lists


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows of a table that count for one metric.

    Attributes:
        rows: whether a row is used for training and judging, shape (rows of the table,).
        missing: how many rows have no value.
        empty: how many rows are left out because the network is empty.
    """

    rows: NDArray[np.bool_]
    missing: int
    empty: int


@dataclass(frozen=True, eq=False)
class Table:
    """Networks and what is known of them.

    Attributes:
        frame: one row for each network: its text in the column ``arch``, or its name in the
            column ``model`` where it belongs to no space, and metric columns with the unit in
            their name. A missing value was not measured.
        card: where the numbers come from.
        name: what errors call the table, such as its file's name.

    Raises:
        UserError: no rows, no column ``arch`` or ``model``, a column or a network that appears
            twice, a network that is not text.
    """

    frame: pd.DataFrame
    card: Card = field(default_factory=Card)
    name: str = "table"

    def __post_init__(self) -> None:
        columns = [str(column) for column in self.frame.columns]
        for column in columns:
            if columns.count(column) > 1:
                raise UserError(f"{self.name}: column '{column}' appears twice")
        if self.key not in columns:
            raise UserError(f"{self.name}: no column 'arch'; columns: {', '.join(columns)}")
        if self.frame.empty:
            raise UserError(f"{self.name}: the table has no rows")
        first: dict[str, int] = {}
        for row, arch in enumerate(self.archs, start=1):
            if not isinstance(arch, str) or not arch:
                raise UserError(f"{self.name}: '{self.key}' of row {row} is {arch!r}, not text")
            if first.setdefault(arch, row) != row:
                raise UserError(
                    f"{self.name}: architecture '{arch}' appears twice,"
                    f" in rows {first[arch]} and {row}"
                )

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def key(self) -> str:
        """The column that names the networks: ``arch``, or ``model`` where there is none."""
        columns = self.frame.columns
        return "model" if "model" in columns and "arch" not in columns else "arch"

    @property
    def archs(self) -> list[str]:
        """The networks' texts, in the order of the rows."""
        return list(self.frame[self.key])

    @property
    def metrics(self) -> list[str]:
        """The names of all columns but the one that names the networks."""
        return [str(column) for column in self.frame.columns if column != self.key]

    def metric(self, column: str, minimum_rows: int = 1) -> NDArray[np.float64]:
        """Return a metric, shape (rows,), in the unit of its name; NaN where it is missing.

        Infinite values count as missing.

        Args:
            column: name of a metric column.
            minimum_rows: how many rows must have a value.

        Raises:
            UserError: no such column, a value that is not a number, too few values.
        """
        if column not in self.metrics:
            raise unknown_name(f"column of {self.name}", column, self.metrics)
        values = self._numbers(column)
        present = int(np.isfinite(values).sum())
        if present < minimum_rows:
            raise UserError(
                f"{self.name}: column '{column}' has values in {present} of {len(self)} rows;"
                f" at least {minimum_rows} needed"
            )
        return values

    def _numbers(self, column: str) -> NDArray[np.float64]:
        series = self.frame[column]
        try:
            if series.dtype.kind in "mM":
                raise TypeError("pandas would turn dates into nanoseconds")
            numbers = pd.to_numeric(series, errors="coerce")
        except TypeError:  # lists and other things that are nowhere numbers
            numbers = pd.Series(np.nan, series.index)
        bad = np.flatnonzero(numbers.isna() & series.notna())
        if len(bad):
            raise UserError(
                f"{self.name}: column '{column}' is not numeric:"
                f" row {bad[0] + 1} holds {str(series.iloc[bad[0]])[:50]!r}"
            )
        values = numbers.to_numpy(np.float64, na_value=np.nan, copy=True)
        values[np.isinf(values)] = np.nan
        return values

    def judged(self, column: str) -> Selection:
        """Return the rows used for training and judging on a metric.

        These have a value, and for latency and energy (names that start with ``latency_`` or
        ``energy_``) no empty network's: those pass nothing from input to output (see
        ``not_empty``), and are left out.

        Raises:
            UserError: as ``metric``; a latency, an energy or a size (see ``is_positive``) that is
                zero or negative.
        """
        values = self.metric(column)
        if is_positive(column) and len(bad := np.flatnonzero(values <= 0)):  # NaN is not
            rows = ", ".join(str(row + 1) for row in bad[:_NAMED].tolist())
            raise UserError(
                f"{self.name}: column '{column}' is not positive in {len(bad)} of {len(self)} rows"
                f" (row {rows}{', ...' if len(bad) > _NAMED else ''}), as latencies, energies and"
                " sizes are; leave empty what was not measured, and give another name to what is"
                " none of these"
            )
        present = ~np.isnan(values)
        used = not_empty(values) if column.startswith(COST_PREFIXES) else present
        return Selection(used, missing=int((~present).sum()), empty=int(present.sum() - used.sum()))

    @functools.cached_property
    def _row_of(self) -> dict[str, int]:
        return {arch: row for row, arch in enumerate(self.archs)}

    def rows(self, archs: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each architecture, shape (len(archs),), by its literal text.

        Raises:
            UserError: an architecture is not in the table.
        """
        for arch in archs:
            if arch not in self._row_of:
                raise UserError(f"{self.name}: no row for architecture '{arch}'")
        return np.array([self._row_of[arch] for arch in archs], dtype=np.int64)

    def describe(self) -> pd.DataFrame:
        """Return count, missing, min, median and max of each numeric metric, one row for each."""
        records = {}
        for column in self.metrics:
            try:
                values = self._numbers(column)
            except UserError:
                continue
            there = values[~np.isnan(values)]
            low, middle, high = (
                (there.min(), np.median(there), there.max()) if len(there) else (np.nan,) * 3
            )
            records[column] = (len(there), len(values) - len(there), low, middle, high)
        names = ["count", "missing", "min", "median", "max"]
        return pd.DataFrame.from_dict(records, orient="index", columns=names)

    def intact(self) -> bool | None:
        """Return whether the content is what the card's hash was made of; None without a hash.

        An edited table is still a table: nothing is refused, the card just no longer vouches.
        """
        return self.card.sha256 == content_sha256(self.frame) if self.card.sha256 else None


def content_sha256(frame: pd.DataFrame) -> str:
    """Return a hash of column names and values, the same for Parquet and CSV.

    Numbers count as float64, everything else as text, so that a change of file format or of the
    width of an integer does not change the hash.
    """
    digest = hashlib.sha256()
    for name in frame.columns:
        series = frame[name]
        if pd.api.types.is_numeric_dtype(series) or series.isna().all():
            values = series.to_numpy(np.float64, na_value=np.nan, copy=True)
            values[np.isnan(values)] = np.nan  # one bit pattern for all NaN
            content = values.astype("<f8").tobytes()
        else:
            texts = series.astype(object).where(series.notna(), "")  # CSV has no other missing text
            content = "\0".join(map(str, texts)).encode()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
