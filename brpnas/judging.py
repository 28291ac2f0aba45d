"""Fitting a predictor to random rows of a table and judging it on others.

``brpnas train`` does it once and ``brpnas compare`` many times: with the same rows, column and
seed they give the same figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from brpnas.datasets import Selection, Table
from brpnas.errors import UserError
from brpnas.predictors import Prediction, Predictor, Quality, quality
from brpnas.spaces import Graph

__all__ = [
    "FEWEST_JUDGED",
    "LEVELS",
    "Case",
    "Fit",
    "Score",
    "Trial",
    "coverage",
    "draw",
    "judge",
    "rows_to_use",
    "try_out",
]

FEWEST_JUDGED = 2
"""Networks that a predictor is judged by at least: one has no rank."""
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Expected coverages at which intervals are judged."""
_POINTS = 1000

P = TypeVar("P", bound=Predictor)


@dataclass(frozen=True)
class Trial:
    """What a fitted predictor says of networks that it did not learn from.

    Attributes:
        truth: metric of the judged networks, shape (n,).
        predicted: the same, as predicted.
        fit_s: seconds that the fit took.
        predict_s: seconds that the prediction of all of them took.
    """

    truth: NDArray[np.float64]
    predicted: Prediction
    fit_s: float
    predict_s: float


@dataclass(frozen=True)
class Case:
    """One fit of a comparison.

    Attributes:
        column: metric to learn.
        predictor: name of what learns it.
        train: rows to fit the weights to.
        valid: rows more, for what each predictor holds some out for.
        seed: of the rows and of the training.
        test: rows to judge by; None: all that are not learnt from.
    """

    column: str
    predictor: str
    train: int
    valid: int
    seed: int
    test: int | None = None


@dataclass(frozen=True)
class Score:
    """How good one fit is.

    Attributes:
        quality: shares and rank correlations.
        coverage: share of networks inside the interval of each of `LEVELS`; None where the
            predictor does not say how far off it may be.
        errors: 0th to 100th percentile of the relative error, as a share of the truth.
        points: truth and prediction of the first networks, to draw; empty but for seed 0.
        fit_s: seconds that the fit took.
        predict_s: seconds that the prediction of all judged networks took.
    """

    quality: Quality
    coverage: tuple[float, ...] | None
    errors: tuple[float, ...]
    points: tuple[tuple[float, float], ...]
    fit_s: float
    predict_s: float


@dataclass(frozen=True)
class Fit:
    """What became of a case: a score, or why there is none."""

    case: Case
    score: Score | None = None
    error: str | None = None


def rows_to_use(
    table: Table, column: str, train: int, valid: int, test: int | None = None
) -> Selection:
    """Return the rows of a table that can be learnt from and judged by.

    Args:
        table: of measured networks.
        column: the metric.
        train: rows to fit the weights to.
        valid: rows more.
        test: rows to judge by; None: all others.

    Raises:
        UserError: no such column, no values, or fewer rows than are asked for.
    """
    selection = table.judged(column)
    rows, needed = int(selection.rows.sum()), train + valid + (test or FEWEST_JUDGED)
    if rows < needed:
        judged = f"at least {FEWEST_JUDGED} to judge by" if test is None else f"--test {test}"
        raise UserError(
            f"{table.name}: column '{column}' has {rows} rows to use; --train {train}, "
            f"--valid {valid} and {judged} are {needed}"
        )
    return selection


def draw(selection: Selection, seed: int) -> NDArray[np.int64]:
    """Return the usable rows in random order: those to learn from come first."""
    return np.random.default_rng(seed).permutation(np.flatnonzero(selection.rows))


def try_out(
    make: Callable[[int, float], P],
    graphs: Sequence[Graph],
    values: NDArray[np.float64],
    case: Case,
) -> tuple[P, Trial]:
    """Fit a predictor to the first networks and predict others.

    Args:
        make: makes a predictor of a seed and of the share of the networks that is held out.
        graphs: the networks, in random order.
        values: their metric, shape (networks,).
        case: how many of them to learn from and to judge by. A fixed number to judge by is taken
            from the end, so that it is the same networks however many are learnt from.

    Raises:
        UserError: the predictor cannot learn from these.
    """
    learnt = case.train + case.valid
    judged = slice(learnt if case.test is None else len(graphs) - case.test, None)
    started = time.perf_counter()
    fitted = make(case.seed, case.valid / learnt)
    fitted.fit(graphs[:learnt], values[:learnt])
    fit_s = time.perf_counter() - started
    started = time.perf_counter()
    predicted = fitted.predict(graphs[judged])
    predict_s = time.perf_counter() - started
    return fitted, Trial(values[judged], predicted, round(fit_s, 3), round(predict_s, 3))


def coverage(
    truth: NDArray[np.float64], predicted: Prediction, levels: Sequence[float] = LEVELS
) -> tuple[float, ...] | None:
    """Return the share of networks inside their central interval, for each expected share.

    The interval is that of a normal distribution with the predicted mean and standard deviation:
    90% are expected within 1.645 deviations.

    Args:
        truth: metric, shape (n,).
        predicted: of the same networks.
        levels: expected shares, each above 0 and below 1.

    Returns:
        A share for each level; None where the predictor gives no standard deviation.
    """
    if predicted.std is None:
        return None
    error = np.abs(predicted.mean - truth)
    widths = norm.ppf((1 + np.array(levels)) / 2)
    return tuple(float(np.mean(error <= width * predicted.std)) for width in widths)


def inside_90pct(truth: NDArray[np.float64], predicted: Prediction) -> float | None:
    """Return the share of networks inside their 90% interval, to 4 digits; see ``coverage``."""
    found = coverage(truth, predicted, (0.9,))
    return None if found is None else round(found[0], 4)


def judge(trial: Trial, points: bool = False) -> Score:
    """Judge what a predictor says.

    Args:
        trial: of the predictor.
        points: keep some of the predictions, to draw.

    Raises:
        UserError: a prediction is missing.
    """
    truth, mean = trial.truth, trial.predicted.mean
    error = np.abs(mean - truth)
    # A true zero is infinitely far off, unless it was predicted.
    relative = np.where(error == 0, 0.0, np.inf)
    np.divide(error, np.abs(truth), out=relative, where=truth != 0)
    percentiles = np.quantile(relative, np.linspace(0, 1, 101), method="lower")
    kept = slice(_POINTS if points else 0)
    return Score(
        quality(truth, mean),
        coverage(truth, trial.predicted),
        tuple(percentiles.tolist()),
        tuple(zip(truth[kept].tolist(), mean[kept].tolist(), strict=True)),
        trial.fit_s,
        trial.predict_s,
    )
