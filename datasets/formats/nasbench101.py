"""NAS-Bench-101: the official files, their JSON fields, tables (Ying et al., ICML 2019)."""

from __future__ import annotations

import base64
import functools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from brpnas.datasets._files import existing_file
from brpnas.datasets.card import Card
from brpnas.datasets.formats._records import fields, records
from brpnas.datasets.table import Table
from brpnas.errors import DAMAGE, UserError
from brpnas.spaces import Cell101, NASBench101

__all__ = ["read"]

_SPACE = NASBench101()
_ACCURACIES = {"validation_accuracy": "valid_acc", "test_accuracy": "test_acc"}
# Numbers of the fields in nasbench/lib/model_metrics.proto.
_EVALUATION, _PARAMETERS = 1, 2
_MEASURED = {2: "training_time", 4: "validation_accuracy", 5: "test_accuracy"}


@dataclass(frozen=True)
class _Run:
    """One training of a cell: accuracies are fractions, the time is in seconds."""

    arch: str
    epochs: int
    metrics: Mapping[str, float]


def read(path: Path) -> Table:
    """Read ``nasbench_full.tfrecord``, ``nasbench_only108.tfrecord``, their JSON fields, a table.

    - ``.tfrecord``: each record is a JSON list of hash, epochs, adjacency matrix (its rows as
      digits), operations (with commas) and metrics (a ``ModelMetrics`` message in base64), of
      which the last evaluation is read. Format: ``nasbench/api.py`` and
      ``nasbench/lib/model_metrics.proto`` of https://github.com/google-research/nasbench.
    - ``.json``: objects as that API's ``query`` returns them, in one list or one on each line,
      with ``module_adjacency`` and ``module_operations``; ``epochs`` is 108 where it is missing.
    - ``.parquet``: one row for each cell, with columns ``edge_bits`` and ``ops`` (see
      ``Cell101``); all others are kept as they are.

    Returns:
        ``cifar10_valid_acc_<epochs>ep_pct``, ``cifar10_test_acc_<epochs>ep_pct``,
        ``train_time_s_<epochs>ep`` as means over runs, ``params_m``.

    Raises:
        UserError: not such a file; names the record.
    """
    path = Path(path)
    kinds = {".tfrecord": _tfrecord_runs, ".json": _json_runs}
    existing_file(path)
    if path.suffix == ".parquet":
        frame = _read_columns(path)
    elif path.suffix in kinds:
        frame = _means(kinds[path.suffix](path))
    else:
        raise UserError(f"{path}: expected a .tfrecord, .json or .parquet file")
    card = Card(
        title=f"NAS-Bench-101 {path.stem}",
        source="NAS-Bench-101, https://github.com/google-research/nasbench (ICML 2019)",
        conditions="" if path.suffix == ".parquet" else "means over all runs, CIFAR-10",
        rebuild=f"import {path.name} as nasbench101",
        space=_SPACE.name,
    )
    return Table(frame, card, path.name)


def _means(runs: Iterator[_Run]) -> pd.DataFrame:
    """Average the runs of each cell, column by column."""
    sums: dict[str, dict[str, list[float]]] = {}  # arch, column: number of values and their sum
    for run in runs:
        columns = sums.setdefault(run.arch, {})
        for name, value in run.metrics.items():
            if name in _ACCURACIES:
                column, value = f"cifar10_{_ACCURACIES[name]}_{run.epochs}ep_pct", 100 * value
            elif name == "training_time":
                column = f"train_time_s_{run.epochs}ep"
            else:
                column, value = "params_m", value / 1e6
            found = columns.setdefault(column, [0, 0.0])
            found[0] += 1
            found[1] += value
    order = sorted({column for columns in sums.values() for column in columns})
    frame = pd.DataFrame({"arch": list(sums)})
    for column in order:
        pairs = (columns.get(column, (0, math.nan)) for columns in sums.values())
        frame[column] = [total / max(count, 1) for count, total in pairs]
    return frame


def _tfrecord_runs(path: Path) -> Iterator[_Run]:
    for number, record in enumerate(records(path), start=1):
        try:
            _, epochs, matrix, operations, metrics = json.loads(record)
            yield _Run(_arch(matrix, operations), int(epochs), _final(base64.b64decode(metrics)))
        except (UserError, *DAMAGE) as error:
            raise UserError(f"{path}: record {number}: {error}") from None


def _final(message: bytes) -> dict[str, float]:
    """Return parameters and the last evaluation, that at the end of the training."""
    content = list(fields(message))
    evaluations = [value for field, value in content if field == _EVALUATION]
    if not evaluations or not isinstance(evaluations[-1], bytes):
        raise ValueError("the metrics hold no evaluation")
    found = {
        _MEASURED[field]: float(value)
        for field, value in fields(evaluations[-1])
        if field in _MEASURED and isinstance(value, float)
    }
    parameters = [value for field, value in content if field == _PARAMETERS]
    if parameters:
        found["trainable_parameters"] = float(parameters[-1])
    return found


@functools.lru_cache(maxsize=1024)  # runs of one cell often lie together
def _arch(digits: str, operations: str) -> str:
    """Return the text of a cell from its matrix in digits, row by row, and its operations."""
    size = math.isqrt(len(digits))
    if size**2 != len(digits):
        raise UserError(f"a matrix of {len(digits)} entries is not square")
    rows = [[int(digit) for digit in digits[i : i + size]] for i in range(0, len(digits), size)]
    return str(_SPACE.canonical(Cell101.from_matrix(rows, operations.split(","))))


def _json_runs(path: Path) -> Iterator[_Run]:
    known = ("trainable_parameters", "training_time", *_ACCURACIES)
    for number, content in enumerate(_objects(path), start=1):
        try:
            cell = Cell101.from_matrix(content["module_adjacency"], content["module_operations"])
            yield _Run(
                str(_SPACE.canonical(cell)),
                int(content.get("epochs", 108)),
                {name: float(content[name]) for name in known if content.get(name) is not None},
            )
        except KeyError as error:
            raise UserError(f"{path}: entry {number}: no key {error}") from None
        except (UserError, *DAMAGE) as error:
            raise UserError(f"{path}: entry {number}: {error}") from None


def _objects(path: Path) -> Iterator[Any]:
    """Yield the objects of a JSON list, or of a file with one on each line."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            yield from json.loads(text)
        else:
            yield from (json.loads(line) for line in text.splitlines() if line.strip())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def _read_columns(path: Path) -> pd.DataFrame:
    try:
        columns = pq.ParquetFile(path).read()
        columns.validate(full=True)
        # What pandas wrote beside the columns may be damaged, and is not needed.
        frame: pd.DataFrame = columns.to_pandas(ignore_metadata=True)
    except (OSError, pa.ArrowException, *DAMAGE):
        raise UserError(f"{path}: not a readable parquet file") from None
    if "arch" in frame.columns:
        raise UserError(f"{path}: has a column 'arch' already; rename it")
    for column in ("edge_bits", "ops"):
        if column not in frame.columns:
            raise UserError(f"{path}: no column '{column}'; columns: {', '.join(frame.columns)}")
    archs = []
    for row, (bits, ops) in enumerate(zip(frame["edge_bits"], frame["ops"], strict=True), start=1):
        try:
            archs.append(str(_SPACE.canonical(_SPACE.parse(f"{bits}:{ops}"))))
        except UserError as error:
            raise UserError(f"{path}: row {row}: {error}") from None
    frame.insert(0, "arch", archs)
    return frame.drop(columns=["edge_bits", "ops"])
