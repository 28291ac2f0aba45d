"""The noise ceiling of benchmarks/predictors.py, where the truth is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brpnas.datasets import open_table
from brpnas.spaces import NASBench201

_PATH = Path(__file__).parents[1] / "benchmarks" / "predictors.py"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("benchmark_predictors", _PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(400), RNG.integers(5, 13, 400))
TRUE = RNG.uniform(1, 10, 400)[GROUPS]
WRITTEN = RNG.integers(0, 2, (len(GROUPS), 12)).astype(float)


def ceiling(benchmark: Any, values: NDArray[np.float64]) -> tuple[float, ...]:
    found: tuple[float, ...] = benchmark.ceiling(values, GROUPS, WRITTEN)
    return found


@pytest.mark.parametrize("noise", ["normal", "wild"])
def test_a_perfect_predictor_reaches_the_ceiling(benchmark: Any, noise: str) -> None:
    rng = np.random.default_rng(1)
    factor = 1 + 0.04 * rng.normal(size=len(TRUE))
    if noise == "wild":
        factor = np.where(rng.random(len(TRUE)) < 0.08, 3.0, factor)
    values = TRUE * factor
    reached = [np.mean(np.abs(TRUE - values) <= share * values) for share in (0.05, 0.10)]
    assert ceiling(benchmark, values) == pytest.approx(reached, abs=0.03)


def test_copies_say_nothing_about_noise(benchmark: Any) -> None:
    assert ceiling(benchmark, TRUE) is None
    noisy = TRUE * (1 + 0.04 * np.random.default_rng(2).normal(size=len(TRUE)))
    copies = np.where(np.arange(len(TRUE)) % 3 > 0, TRUE, noisy)
    assert ceiling(benchmark, copies) is None


def test_dead_branches_that_run_are_no_noise(benchmark: Any) -> None:
    factor = 1 + 0.04 * np.random.default_rng(3).normal(size=len(TRUE))
    assert ceiling(benchmark, TRUE * factor) is not None
    assert ceiling(benchmark, TRUE * factor * (1 + 0.1 * WRITTEN[:, 0])) is None


def test_no_groups_no_ceiling(benchmark: Any) -> None:
    places = np.arange(len(TRUE))
    assert benchmark.ceiling(TRUE, places, WRITTEN) is None


def test_real_columns(benchmark: Any, shared: Path) -> None:
    table, space = open_table(str(shared / "data" / "nasbench201.parquet")), NASBench201()
    archs = [space.parse(text) for text in table.archs]
    graphs = [space.graph(arch) for arch in archs]
    texts = [benchmark.pruned(space, *pair) for pair in zip(archs, graphs, strict=True)]
    groups, written = pd.factorize(np.array(texts))[0], benchmark.operations(graphs)

    def of(column: str) -> Any:
        rows = table.judged(column).rows
        return benchmark.ceiling(table.metric(column)[rows], groups[rows], written[rows])

    # Two files of this card's measurements agree within 5% on 94.4%, within 10% on 97.6%.
    assert of("latency_ms_latbench_gtx1080ti_fp32") == pytest.approx((0.968, 0.989), abs=0.01)
    assert of("latency_ms_hwnas_fpga") is None  # dead branches run
    assert of("latency_ms_hwnas360_pi5_litert") is None  # values are copied
