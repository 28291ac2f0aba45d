"""Which predictor is best for a metric, after how many networks: many fits, judged alike."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.datasets import Selection, Table, content_sha256
from brpnas.errors import DAMAGE, UserError
from brpnas.executors import Executor, InProcess
from brpnas.files import replace_file
from brpnas.judging import LEVELS, Case, Fit, Score, draw, judge, rows_to_use, try_out
from brpnas.predictors import Predictor, Quality
from brpnas.resolver import parse_archs
from brpnas.run import Run
from brpnas.spaces import FiniteSpace, Graph
from brpnas.values import finite

__all__ = ["MEASURES", "Comparison", "Plan", "compare"]

MEASURES = (
    *(one.name for one in dataclasses.fields(Quality) if one.name != "n_test"),
    "in_90pct",
    "fit_s",
    "predict_s",
)
"""What is averaged over the seeds."""
_FITS = "fits"


@dataclass(frozen=True)
class Plan:
    """How often each predictor is fitted to each column, and to what.

    Attributes:
        train: rows to fit the weights to; each number is a point of the learning curve.
        valid: rows more, for what each predictor holds some out for.
        seeds: fits at each point, of seeds 0, 1, ...
        test: rows to judge by; None: all that are not learnt from.

    Raises:
        UserError: a number out of range.
    """

    train: tuple[int, ...] = (30, 100, 300, 900)
    valid: int = 100
    seeds: int = 5
    test: int | None = None

    def __post_init__(self) -> None:
        if not self.train:
            raise UserError("--train names no number of rows; such as 30,100,300,900")
        least = {"train": 1, "valid": 0, "seeds": 1, "test": 2}
        for name, value in (("train", min(self.train)), *list(vars(self).items())[1:]):
            if value is not None and value < least[name]:
                raise UserError(f"--{name} must be at least {least[name]}, not {value}")


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        fits: all of them, by column, rows learnt from, predictor and seed.
        selections: for each column, the rows that were used and those that were left out.
    """

    fits: list[Fit]
    selections: dict[str, Selection]

    def frame(self) -> pd.DataFrame:
        """Return a row for each fit: its case, its measures, its error.

        Measures are NaN where the fit failed, ``in_90pct`` (the share of networks inside their
        90% interval) also where the predictor gives no interval.
        """
        return pd.DataFrame([_row(fit) for fit in self.fits])

    def medians(self) -> list[dict[str, Any]]:
        """Return the medians over the seeds, for each column, rows learnt from and predictor.

        ``seeds`` counts the fits that did not fail; where some did, ``error`` says why the first
        of them did, else it is None. The values are those that JSON can hold.
        """
        found: list[dict[str, Any]] = []
        frame = self.frame()
        for (column, train, name), part in frame.groupby(
            ["column", "train", "predictor"], sort=False
        ):
            errors, done = part["error"].dropna(), part[part["error"].isna()]
            found.append(
                {
                    "column": column,
                    "train": train,
                    "predictor": name,
                    "seeds": len(done),
                    **{measure: float(done[measure].median()) for measure in MEASURES},
                    "n_test": int(done["n_test"].median()) if len(done) else 0,
                    "error": None if errors.empty else str(errors.iloc[0]),
                }
            )
        return [dict(finite(row)) for row in found]


@dataclass(frozen=True)
class _Networks:
    """The networks of a table, which a worker draws once: the key says which, drawn how."""

    key: tuple[str, ...]
    space: FiniteSpace[Any] = field(compare=False)
    archs: tuple[str, ...] = field(compare=False)


@functools.lru_cache(maxsize=1)
def _graphs(networks: _Networks) -> list[Graph]:
    return [networks.space.graph(networks.space.parse(text)) for text in networks.archs]


@dataclass(frozen=True)
class _Work:
    """Fits a case; runs in any process."""

    networks: _Networks
    values: dict[str, NDArray[np.float64]]
    selections: dict[str, Selection]
    predictors: dict[str, Callable[[int, float], Predictor]]

    def __call__(self, case: Case) -> Fit:
        rows = draw(self.selections[case.column], case.seed)
        graphs, values = _graphs(self.networks), self.values[case.column]
        try:
            _, trial = try_out(
                self.predictors[case.predictor], [graphs[row] for row in rows], values[rows], case
            )
            return Fit(case, judge(trial, points=case.seed == 0))
        except UserError as error:
            return Fit(case, error=str(error))


def compare(
    table: Table,
    space: FiniteSpace[Any],
    columns: Sequence[str],
    predictors: Mapping[str, Callable[[int, float], Predictor]],
    plan: Plan | None = None,
    out: Path | None = None,
    *,
    executor: Executor | None = None,
    resume: bool = False,
    command: str = "",
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Comparison:
    """Fit every predictor to every column, at each number of rows and with each seed.

    The rows are drawn and judged as ``brpnas train`` does; the same column, predictor, rows and
    seed give the same figures. A predictor that cannot learn a case gives a fit with an error.

    Args:
        table: of measured networks.
        space: of the networks.
        columns: metrics to learn, each by itself.
        predictors: by name, what makes one of a seed and of the share of the networks held out,
            such as ``PREDICTORS["gcn"].regressor``. With workers, they have to be picklable.
        plan: how many fits, and of how many rows.
        out: a new or empty folder. It gets ``run.json``, every fit as soon as it is done,
            and ``fits.csv``. None: nothing is kept.
        executor: where to fit; None: here, one after the other.
        resume: continue in the folder; fits that are there are not done again.
        command: what was typed, for the record.
        progress: is called with the fits that are done and their total.

    Raises:
        UserError: before any fit: an unknown column, one without values or with equal values, too
            few rows, networks of another space, a folder that is in use, not empty or of another
            comparison.
    """
    plan = plan or Plan()
    columns = list(dict.fromkeys(columns))
    if not (columns and predictors):
        raise UserError("nothing to compare: name at least one column and one predictor")
    selections = {column: _selection(table, column, plan) for column in columns}
    parse_archs(table, space)
    cases = _cases(columns, list(predictors), plan)
    kind = type(space)
    key = (content_sha256(table.frame), kind.__module__, kind.__qualname__, repr(vars(space)))
    networks = _Networks(key, space, tuple(table.archs))
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        run = folder = None
        if out is not None:
            asked = {
                "table": table.name,
                "table_sha256": networks.key,
                "space": space.name,
                "columns": columns,
                "predictors": list(predictors),
                **asdict(plan),
                "train": sorted(set(plan.train)),
                "command": command,
            }
            free = ("table", "command")
            run = stack.enter_context(Run(out, asked, seed=0, resume=resume, free=free))
            folder = out / _FITS
            folder.mkdir(exist_ok=True)
        values = {column: table.metric(column) for column in columns}
        work = _Work(networks, values, selections, dict(predictors))
        fits = _run(work, cases, folder, executor or InProcess(), progress)
        comparison = Comparison(fits, selections)
        if run is not None and out is not None:
            replace_file(out / "fits.csv", comparison.frame().to_csv(index=False).encode())
            wall_s = round(time.perf_counter() - started, 3)
            run.finish({"medians": comparison.medians(), "wall_s": wall_s})
    return comparison


def _run(
    work: _Work,
    cases: list[Case],
    folder: Path | None,
    executor: Executor,
    progress: Callable[[int, int], object],
) -> list[Fit]:
    """Return the fit of each case, in order; those that were kept are not done again."""
    found = {case: _kept(folder, case) if folder else None for case in cases}
    missing = [case for case, fit in found.items() if fit is None]
    done = len(cases) - len(missing)
    progress(done, len(cases))
    for place, outcome in executor.as_completed(work, missing):
        case = missing[place]
        found[case] = outcome.value or Fit(case, error=outcome.error)
        # A crash may have been the machine's: it is not kept, so that it is tried again.
        if folder and outcome.value:
            _keep(folder, outcome.value)
        done += 1
        progress(done, len(cases))
    return [fit for fit in found.values() if fit]


def _selection(table: Table, column: str, plan: Plan) -> Selection:
    selection = rows_to_use(table, column, max(plan.train), plan.valid, plan.test)
    if np.ptp(table.metric(column)[selection.rows]) == 0:
        raise UserError(f"{table.name}: all values of column '{column}' are equal")
    return selection


def _cases(columns: list[str], predictors: list[str], plan: Plan) -> list[Case]:
    return [
        Case(column, predictor, train, plan.valid, seed, plan.test)
        for column in columns
        for train in sorted(set(plan.train))
        for predictor in predictors
        for seed in range(plan.seeds)
    ]


def _row(fit: Fit) -> dict[str, Any]:
    measures: dict[str, Any] = dict.fromkeys((*MEASURES, "n_test"), np.nan)
    if fit.score:
        coverage = fit.score.coverage
        measures |= {
            **asdict(fit.score.quality),
            "in_90pct": coverage[LEVELS.index(0.9)] if coverage else np.nan,
            "fit_s": fit.score.fit_s,
            "predict_s": fit.score.predict_s,
        }
    case = {name: value for name, value in asdict(fit.case).items() if name != "test"}
    return {**case, **measures, "error": fit.error}


def _path(folder: Path, case: Case) -> Path:
    """Return the file of a case; a column's name may hold what a file's name may not."""
    digest = hashlib.sha256(json.dumps(asdict(case)).encode()).hexdigest()
    return folder / f"{digest[:16]}.json"


def _keep(folder: Path, fit: Fit) -> None:
    content = json.dumps(finite(asdict(fit)), allow_nan=False) + "\n"
    replace_file(_path(folder, fit.case), content.encode())


def _kept(folder: Path, case: Case) -> Fit | None:
    """Return a fit that was kept; None if there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = _path(folder, case)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        score = content["score"]
        return Fit(case, score and _score(score), content["error"])
    except FileNotFoundError:
        return None
    except (OSError, *DAMAGE):
        raise UserError(f"{path}: damaged; delete it, and the fit is done again") from None


def _score(content: dict[str, Any]) -> Score:
    """Put a score together from JSON, where missing numbers are null."""
    quality: dict[str, Any] = {
        name: np.nan if value is None else value for name, value in content["quality"].items()
    }
    return Score(
        Quality(**quality),
        None if content["coverage"] is None else tuple(map(float, content["coverage"])),
        # Infinitely far off: the only number that is not finite there.
        tuple(np.inf if value is None else float(value) for value in content["errors"]),
        tuple((float(truth), float(mean)) for truth, mean in content["points"]),
        float(content["fit_s"]),
        float(content["predict_s"]),
    )
