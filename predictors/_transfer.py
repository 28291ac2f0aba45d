"""Source devices as clean columns, and the structure of the networks that they measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from brpnas.errors import UserError
from brpnas.predictors._features import VIEWS, GraphFeatures
from brpnas.predictors._scale import LARGEST
from brpnas.spaces import Graph

__all__ = ["FEWEST_SOURCES", "Sources"]

FEWEST_SOURCES = 3
"""Columns of other devices that a transfer needs, at the least; 5 or more are recommended."""

_FEWEST_VALUES = 20
_AXES = 150


@dataclass(frozen=True, eq=False)
class Sources:
    """What is known of n networks before a new device is met: m others that ran them.

    Attributes:
        names: of the source columns, (m,).
        costs: what each source says of each network, in medians of that source, (n, m): denoised,
            and without gaps.
        measured: whether the source has a value of its own, (n, m).
        structure: principal axes of what the networks hold, (n, axes); the sum of their variances
            is 1.

    Raises:
        UserError: fewer than 3 sources.
    """

    names: tuple[str, ...]
    costs: NDArray[np.float64]
    measured: NDArray[np.bool_]
    structure: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.names) < FEWEST_SOURCES:
            raise UserError(
                f"{len(self.names)} source columns ({', '.join(self.names) or 'none'}): a transfer "
                f"needs at least {FEWEST_SOURCES}, and 5 or more are recommended"
            )

    @classmethod
    def of(
        cls, graphs: Sequence[Graph], columns: Mapping[str, NDArray[np.float64]], seed: int = 0
    ) -> Sources:
        """Denoise the measurements of each source and fill their gaps.

        Boosted trees learn a column's logarithm from what the networks hold, and their fit takes
        the place of all values: what the structure does not explain is mostly noise of the
        measurement, and noise of few sources would pass for a trait of the new device.

        Args:
            graphs: the networks, of one space.
            columns: latencies or energies by name, each (n,) and in any unit, as every column is
                divided by its median. NaN where there is no measurement, or of an empty network.
            seed: of the trees.

        Raises:
            UserError: fewer than 3 sources; a source of another length, with fewer than 20 values,
                with values that are not positive, or all equal; no networks, or of several spaces.
        """
        for name, values in columns.items():
            _check(name, values, len(graphs))
        views = GraphFeatures.of(graphs)(graphs)
        features = np.concatenate([views[view] for view in VIEWS], axis=1)
        features = features[:, np.ptp(features, axis=0) > 0]
        raw = np.array(list(columns.values())).reshape(len(columns), len(graphs)).T
        measured = np.isfinite(raw)
        # Checked before the long work, and with the same words as after it.
        empty = cls(tuple(columns), raw, measured, np.empty((len(graphs), 0)))
        return replace(
            empty, costs=_denoised(raw, features, seed), structure=_principal_axes(features)
        )

    def without(self, names: Collection[str]) -> Sources:
        """Leave some columns out, such as those of the device that is to be learnt.

        Raises:
            UserError: fewer than 3 sources are left.
        """
        kept = [column for column, name in enumerate(self.names) if name not in names]
        return Sources(
            tuple(self.names[column] for column in kept),
            self.costs[:, kept],
            self.measured[:, kept],
            self.structure,
        )


def _check(name: str, values: NDArray[np.float64], networks: int) -> None:
    """Raise UserError unless a source can be learnt from."""
    if values.shape != (networks,):
        raise UserError(f"source '{name}' has {len(values)} values for {networks} networks")
    there = values[np.isfinite(values)]
    if len(there) < _FEWEST_VALUES:
        raise UserError(
            f"source '{name}' has {len(there)} values: at least {_FEWEST_VALUES} are needed; "
            "leave it out"
        )
    if not 0 < there.min() <= there.max() < LARGEST:
        raise UserError(
            f"source '{name}' has values from {there.min():g} to {there.max():g}: a latency or an "
            "energy is positive and finite; leave it out"
        )
    if np.ptp(there) == 0:
        raise UserError(f"all values of source '{name}' are {there[0]:g}; leave it out")


def _denoised(
    raw: NDArray[np.float64], features: NDArray[np.float32], seed: int
) -> NDArray[np.float64]:
    """Return each column's smooth function of the features, in its medians: (n, m)."""
    costs = np.empty(raw.shape)
    for source, values in enumerate(raw.T):
        there = np.isfinite(values)
        trees = HistGradientBoostingRegressor(
            learning_rate=0.12,
            max_iter=120,
            max_leaf_nodes=40,
            max_bins=64,  # features are counts: the time grows with bins, the fit hardly changes
            min_samples_leaf=8,
            early_stopping=False,
            random_state=seed % 2**32,  # scikit-learn takes no larger ones
        )
        log = trees.fit(features[there], np.log(values[there])).predict(features)
        costs[:, source] = np.exp(log - np.median(log))
    return costs


def _principal_axes(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return at most 150 principal axes of the features, (n, axes), of a total variance of 1."""
    table = features.astype(np.float64)
    amounts = ((table != 0) & (table != 1)).any(0)
    # One of several thousand amounts would else count as much as several flags.
    scale = np.where(amounts, 3 * table.std(0), 1)
    table = (table - table.mean(0)) / scale
    value, axes = np.linalg.eigh(table.T @ table / len(table))
    largest = np.argsort(-value)[:_AXES]
    rotated: NDArray[np.float64] = table @ axes[:, largest]
    variance = (rotated**2).sum(1).mean()
    return rotated / np.sqrt(variance) if variance > 0 else rotated
