from __future__ import annotations

import numpy as np
import pytest

from brpnas.costs import is_positive, not_empty


@pytest.mark.parametrize(
    "metric",
    [
        *("latency_ms", "latency_us_phone", "energy_mj_pi5", "params", "params_m", "macs_m"),
        *("flops_m_cifar10", "macs", "model_bytes"),
    ],
)
def test_costs_and_sizes_are_positive(metric: str) -> None:
    assert is_positive(metric)


@pytest.mark.parametrize(
    "metric", ["accuracy_pct", "params_reduction_pct", "macs_saved", "loss", "latency", "rank"]
)
def test_others_may_be_anything(metric: str) -> None:
    assert not is_positive(metric)


def test_what_costs_next_to_nothing_is_empty() -> None:
    costs = np.array([100.0, 100.0, 2.0, 1.99, np.nan])  # the median is 51
    assert not_empty(costs).tolist() == [True, True, True, True, False]
    costs = np.append(costs, 100.0)  # the median is 100
    assert not_empty(costs).tolist() == [True, True, True, False, False, True]


def test_no_median_to_know_empties_by() -> None:
    assert not_empty(np.array([-3.0, 0.0, 5.0, -1.0, np.nan])).tolist() == [True] * 4 + [False]
    assert not_empty(np.array([np.nan])).tolist() == [False]
    assert not_empty(np.array([])).tolist() == []
