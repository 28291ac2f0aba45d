"""Between a metric in its unit and what a model learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from brpnas.errors import UserError
from brpnas.predictors.predictor import Prediction
from brpnas.spaces import Graph

__all__ = ["LARGEST", "Scale", "check_values", "share_of", "unexplained", "width_of"]

_FEWEST = 5
_COVERED = 0.9
_DEVIATIONS = float(ndtri((1 + _COVERED) / 2))
LARGEST = 1e100
"""Squares of larger values overflow."""
_SHARES = np.linspace(0, 1, 21)
_BOOTSTRAPS = 400
_SAME = 1e-12  # what differs by less is rounding, and may have a deviation of zero


@dataclass(frozen=True)
class Scale:
    """Between a metric and what the network learns."""

    logarithm: bool = False
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Scale:
        logarithm = bool((values > 0).all())
        raw = np.log(values) if logarithm else values
        return cls(logarithm, float(raw.mean()), float(raw.std()))

    @classmethod
    def restored(cls, state: NDArray[np.float64]) -> Scale:
        """Make what ``state`` was called on; ValueError if it is not that."""
        logarithm, mean, std = state.tolist()
        return cls(bool(logarithm), mean, std)

    def state(self) -> NDArray[np.float64]:
        """Return all there is to it as an array, shape (3,)."""
        return np.array([self.logarithm, self.mean, self.std])

    def shrink(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        raw = np.log(values) if self.logarithm else values
        return (raw - self.mean) / self.std

    def grow(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        raw = scores * self.std + self.mean
        grown: NDArray[np.float64] = np.exp(raw) if self.logarithm else raw
        return grown

    def standardised(
        self, said: Prediction
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Undo ``prediction``: return scores and their deviation, None where it is unknown."""
        if said.std is None:
            return self.shrink(said.mean), None
        relative = said.std / said.mean if self.logarithm else said.std
        return self.shrink(said.mean), relative / self.std

    def prediction(self, scores: NDArray[np.float64], deviation: NDArray[np.float64]) -> Prediction:
        """Bring what a model says of standardised values back to their unit, (n,) each."""
        mean, std = self.grow(scores), deviation * self.std
        return Prediction(mean, std * mean if self.logarithm else std)


def share_of(
    one: NDArray[np.float64], other: NDArray[np.float64], truth: NDArray[np.float64], seed: int
) -> float:
    """Return how much of ``one`` a mixture with ``other`` should have, from 0 to 1.

    That is the share with the least mean absolute error, averaged over Bayesian bootstraps of the
    networks (Rubin 1981; for the weights of models, Yao et al. 2018, "Using stacking to average
    Bayesian predictive distributions"), so that a few outliers do not decide.

    Args:
        one: standardised predictions for networks that neither learnt from, (n,).
        other: likewise.
        truth: standardised values, (n,).
        seed: of the bootstraps.
    """
    errors = np.abs(other - truth + _SHARES[:, None] * (one - other))
    rows = np.random.default_rng(seed).dirichlet(np.ones(len(truth)), _BOOTSTRAPS)
    return float(_SHARES[(rows @ errors.T).argmin(1)].mean())


def check_values(graphs: Sequence[Graph], values: NDArray[np.float64]) -> None:
    """Raise UserError unless each network has one finite value and the values differ."""
    if len(graphs) != len(values):
        raise UserError(f"{len(graphs)} networks but {len(values)} values")
    if len(values) < _FEWEST:
        raise UserError(
            f"a predictor needs at least {_FEWEST} networks to learn from, not {len(values)}"
        )
    if not np.isfinite(values).all():
        raise UserError(f"{int((~np.isfinite(values)).sum())} of {len(values)} values are missing")
    if float(np.abs(values).max()) > LARGEST:
        raise UserError(f"a value of {np.abs(values).max():g} is too large to learn from")
    if np.ptp(values) <= _SAME * float(np.abs(values).max()):
        raise UserError(f"all {len(values)} values are {values[0]:g}: there is nothing to learn")


def width_of(off: NDArray[np.float64]) -> float:
    """Return what deviations have to be multiplied with for 90% intervals to hold 90%.

    Conformal prediction: Lei et al., "Distribution-free predictive inference for regression", 2018.

    Args:
        off: absolute errors on networks that were not learnt from, in expected deviations, (n,).
    """
    return float(np.sort(off)[_covering(len(off))] / _DEVIATIONS)


def unexplained(errors: NDArray[np.float64], variance: NDArray[np.float64]) -> float:
    """Return the deviation to be added to known variances for 90% intervals to hold 90%.

    Args:
        errors: on networks that were not learnt from, shape (n,).
        variance: that is known of each, shape (n,).
    """
    missing = np.sort((errors / _DEVIATIONS) ** 2 - variance)[_covering(len(errors))]
    return float(np.sqrt(max(missing, 0.0)))


def _covering(n: int) -> int:
    """Return the place of the value, among n that ascend, below which 90% of further ones lie."""
    return min(int(np.ceil(_COVERED * (n + 1))), n) - 1
