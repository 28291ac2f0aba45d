"""Few-shot transfer: learn a new device from ten measurements and what others are known to do.

Bayesian linear regression on the costs of other devices, with a greedy A-optimal design (Chaloner
and Verdinelli, "Bayesian experimental design: a review", Statistical Science 10, 1995: the
measurements that most lower the mean posterior variance) and Student-t noise (Lange et al.,
"Robust statistical modeling using the t distribution", JASA 84, 1989). The task, and the protocol
of leaving one device out, are those of HELP (Lee et al., NeurIPS 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.predictors._scale import LARGEST
from brpnas.predictors._transfer import FEWEST_SOURCES, Sources
from brpnas.predictors.predictor import Prediction
from brpnas.spaces import Graph

__all__ = [
    "FEWEST_SAMPLES",
    "FEWEST_SOURCES",
    "LARGEST",
    "Sources",
    "Transfer",
    "TransferPrior",
]

FEWEST_SAMPLES = 3
"""Networks that have to be measured on the new device, at the least."""

_STEPS = 20
_SMALLEST = 0.05


@dataclass(frozen=True)
class TransferPrior:
    """What is believed of a new device, in variances of what the sources explain of it.

    Attributes:
        noise: variance of a measurement's error.
        structure: variance of what only the structure of the networks explains.
        constant: standard deviation of the cost that all networks share.
        freedom: degrees of freedom of the error's Student-t distribution.
        candidates: how many random networks the design chooses from.
    """

    noise: float = 0.03
    structure: float = 0.04
    constant: float = 3.0
    freedom: float = 4.0
    candidates: int = 2000


class Transfer:
    """Chooses what to measure on a new device, and predicts the rest from how others behave.

    A network's cost, in medians of the measured ones, is modelled as::

        y = 1 + phi' w + e,   phi = [sources / sqrt(m), sqrt(0.04) structure, 3],   w ~ N(0, s I)

    with the m sources standardised, e of Student-t distribution, and the scale s from the data.
    Costs, not their logarithms: those of a network's operations add up on every device.

    Args:
        sources: what other devices need for n networks, and what these hold.
        seed: of the design's candidates.
        prior: what is believed of a new device; None: what served best on half of the known ones.
    """

    def __init__(self, sources: Sources, seed: int = 0, prior: TransferPrior | None = None) -> None:
        self.sources = sources
        self.seed = seed
        self.prior = prior or TransferPrior()
        costs = sources.costs - sources.costs.mean(0)
        std = costs.std(0)
        costs = costs / np.where(std > 0, std, 1) / np.sqrt(len(sources.names))
        constant = np.full((len(costs), 1), self.prior.constant)
        structure = np.sqrt(self.prior.structure) * sources.structure
        self._phi = np.concatenate([costs, structure, constant], axis=1)  # (n, weights)
        self._rows = np.empty(0, np.int64)
        self._values = np.empty(0)

    @classmethod
    def of(
        cls, graphs: Sequence[Graph], columns: Mapping[str, NDArray[np.float64]], seed: int = 0
    ) -> Self:
        """Prepare a transfer; the arguments and errors are those of `Sources.of`."""
        return cls(Sources.of(graphs, columns, seed), seed)

    def suggest(self, n: int, usable: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return the rows of n networks to measure first, the most telling first, (n,).

        Each lowers the mean posterior variance over all networks the most, given those before it;
        the values measured do not matter. No network comes twice.

        Args:
            n: how many.
            usable: which networks may be chosen, (networks,); None: those that all sources
                measured.

        Raises:
            UserError: fewer than 3, or more than may be chosen.
        """
        allowed = np.flatnonzero(self.sources.measured.all(1) if usable is None else usable)
        _check_samples(n)
        if n > len(allowed):
            raise UserError(f"{n} networks to measure, but only {len(allowed)} may be chosen")
        count = min(max(self.prior.candidates, n), len(allowed))
        rows = np.random.default_rng(self.seed).choice(allowed, count, replace=False)
        phi = self._phi[rows]
        moment = self._phi.T @ self._phi / len(self._phi)
        spread = phi.copy()  # phi times the posterior covariance of the weights
        chosen: list[int] = []
        for _ in range(n):
            variance = (spread * phi).sum(1) + self.prior.noise  # (candidates,)
            gain = ((spread @ moment) * spread).sum(1) / variance
            gain[chosen] = -1
            # Networks that look the same differ by rounding only, which is not the same everywhere.
            best = int(np.round(gain / gain.max(), 9).argmax())
            chosen.append(best)
            spread = spread - np.outer(phi @ spread[best], spread[best]) / variance[best]
        return rows[chosen]

    def fit(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> Self:
        """Learn from the costs of some networks on the new device.

        Args:
            rows: which networks, (samples,).
            values: their latency or energy in any unit, (samples,).

        Raises:
            UserError: fewer than 3 values, as many rows as not, a row twice or out of range, a
                value that is missing or not positive, all values equal.
        """
        rows, values = np.asarray(rows), np.array(values, np.float64)
        _check_samples(len(rows))
        if len(rows) != len(values):
            raise UserError(f"{len(rows)} networks but {len(values)} values")
        if len(np.unique(rows)) < len(rows) or rows.min() < 0 or rows.max() >= len(self._phi):
            raise UserError(f"the rows must be different ones of 0 to {len(self._phi) - 1}")
        if not ((values > 0) & (values < LARGEST)).all():
            bad = values[~((values > 0) & (values < LARGEST))][0]
            raise UserError(f"a latency or an energy is positive and finite, not {bad:g}")
        if np.ptp(values) == 0:
            raise UserError(
                f"all {len(values)} values are {values[0]:g}: there is nothing to learn"
            )
        self._rows, self._values = rows.astype(np.int64), values
        return self

    def predict(self) -> Prediction:
        """Predict all n networks, in the unit of the values it was fitted to.

        The mean is positive. The standard deviation is that of a measurement, its noise's scale
        included: of noise with outliers, so much that 90% intervals hold about 90%.

        Raises:
            UserError: not fitted.
        """
        if not len(self._rows):
            raise UserError("this transfer was not fitted")
        prior, phi = self.prior, self._phi[self._rows]
        unit = float(np.median(self._values))
        target = self._values / unit - 1
        gram = phi @ phi.T
        weight = np.ones(len(target))  # how much larger than usual a measurement's variance seems
        for _ in range(_STEPS):  # expectation-maximisation of the Student-t noise
            noise = prior.noise * weight
            inverse = np.linalg.inv(gram + np.diag(noise))
            dual = inverse @ target
            scale = max(float(target @ dual) / len(target), 1e-12)  # of all variances
            square = (noise * dual) ** 2 / scale + noise - noise**2 * np.diag(inverse)
            weight = (prior.freedom + square / prior.noise) / (prior.freedom + 1)
        known = self._phi @ phi.T  # (n, samples)
        left = (self._phi**2).sum(1) - ((known @ inverse) * known).sum(1)
        mean = unit * _positive(1 + known @ dual)
        return Prediction(mean, unit * np.sqrt(scale * (np.maximum(left, 0) + prior.noise)))


def _check_samples(n: int) -> None:
    if n < FEWEST_SAMPLES:
        raise UserError(f"{n} networks to measure: a transfer needs at least {FEWEST_SAMPLES}")


def _positive(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bend costs below 5% of a median towards zero: none gets negative, the order stays."""
    bent = _SMALLEST * np.exp(np.minimum(costs / _SMALLEST - 1, 0))
    return np.where(costs < _SMALLEST, bent, costs)
