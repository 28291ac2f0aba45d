from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from brpnas.devices import Measurement


@pytest.mark.parametrize(
    ("samples", "median", "smallest"),
    [((3.0,), 3.0, 3.0), ((9.0, 1.0, 2.0), 2.0, 1.0), ((4.0, 1.0, 2.0, 30.0), 3.0, 1.0)],
)
def test_median_and_min(samples: tuple[float, ...], median: float, smallest: float) -> None:
    measurement = Measurement(samples, "ms", "one thread")
    assert (measurement.median, measurement.min) == (median, smallest)
    assert measurement.samples == samples  # in the order of time, not sorted


def test_measurement_is_a_frozen_value() -> None:
    measurement = Measurement((1.0,), "ms", "")
    assert measurement == Measurement((1.0,), "ms", "")
    assert measurement != Measurement((1.0,), "mj", "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        measurement.unit = "s"  # type: ignore[misc]


@pytest.mark.parametrize("samples", [(), (np.nan,), (1.0, np.inf), (1.0, -0.5)])
def test_samples_that_are_none_are_no_measurement(samples: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sample"):
        Measurement(samples, "ms", "")
