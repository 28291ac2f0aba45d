"""What a strategy expected of networks, beside what was measured of them: the noun Round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from brpnas.report.summary import Facts

__all__ = ["Round", "expected_facts", "read_rounds"]

_FEWEST = 4  # networks: a rank correlation of fewer says nothing


@dataclass(frozen=True, eq=False)
class Round:
    """A round of a search, of whose networks something was expected.

    Attributes:
        number: in the trace, from 0.
        rows: of the networks of which something was expected, in the trace, from 0, shape (n,).
        expected: of the objective, shape (n,); larger is better. Rounds may have different units.
        measured: the objective, shape (n,); NaN where the evaluation failed.
        best: row of the best measured of all networks of the round; None if there is none.
    """

    number: int
    rows: NDArray[np.int64]
    expected: NDArray[np.float64]
    measured: NDArray[np.float64]
    best: int | None

    @property
    def places(self) -> NDArray[np.int64]:
        """Each network's place in the expected order, from 1, the best; equal ones share it."""
        return rankdata(-self.expected, method="min").astype(np.int64)

    @property
    def correlation(self) -> float | None:
        """Spearman's, of what was expected and measured; None where it would say nothing."""
        known = np.isfinite(self.measured)
        pair = self.expected[known], self.measured[known]
        if known.sum() < _FEWEST or any(len(np.unique(values)) == 1 for values in pair):
            return None
        return float(spearmanr(*pair).statistic)


def read_rounds(
    trace: pd.DataFrame, measured: NDArray[np.float64], kept: NDArray[np.bool_]
) -> list[Round]:
    """Return the rounds of a search in which something was expected.

    Args:
        trace: of the search.
        measured: the objective, shape (networks,); larger is better, NaN where missing.
        kept: which networks can be the best, shape (networks,).

    Returns:
        None of them if the search was made before traces told, or nothing was expected.
    """
    if "expected" not in trace:
        return []
    expected = trace["expected"].to_numpy(np.float64)
    numbers = trace["iteration"].to_numpy(np.int64)
    worth = np.where(kept & np.isfinite(measured), measured, -np.inf)
    rounds = []
    for number in np.unique(numbers[np.isfinite(expected)]).tolist():
        own = np.flatnonzero(numbers == number)
        rows = own[np.isfinite(expected[own])]
        best = int(own[np.argmax(worth[own])])
        found = best if worth[best] > -np.inf else None
        rounds.append(Round(number, rows, expected[rows], measured[rows], found))
    return rounds


def expected_facts(rounds: Sequence[Round]) -> Facts:
    """Return what a comparison tells of the rounds of a search."""
    known = [one.correlation for one in rounds if one.correlation is not None]
    title = "Rank correlation of expected and measured, median of rounds"
    return [(title, float(np.median(known)))] if known else []
