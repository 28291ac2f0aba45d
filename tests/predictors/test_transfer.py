from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from brpnas.datasets import read_table
from brpnas.errors import UserError
from brpnas.predictors.transfer import Sources, Transfer, TransferPrior
from brpnas.spaces import Graph, NASBench201

_SPACE = NASBench201()
_NETWORKS, _DEVICES = 240, 5
_NOISE = 0.05


def _graphs(n: int = _NETWORKS) -> list[Graph]:
    return [_SPACE.graph(cell) for cell in _SPACE.sample(n, np.random.default_rng(0))]


def _true_costs(graphs: list[Graph]) -> NDArray[np.float64]:
    """Devices that need their own time for each kind of operation: (networks, devices)."""
    rng = np.random.default_rng(1)
    kinds = len(_SPACE.schema.operations)
    counts = [np.bincount(graph.operations[graph.live], minlength=kinds) for graph in graphs]
    weights = rng.lognormal(0, 1, (kinds, _DEVICES)) * 10.0 ** np.arange(_DEVICES)  # own units
    return np.array(counts, np.float64) @ weights + weights.mean(0)  # an empty network costs too


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float64]:
    return _true_costs(_graphs())


@pytest.fixture(scope="module")
def measured(truth: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Noisy measurements; the first device has none of the last 60 networks."""
    values = truth * np.exp(np.random.default_rng(2).normal(0, _NOISE, truth.shape))
    values[-60:, 0] = np.nan
    return {f"latency_ms_{device}": values[:, device] for device in range(_DEVICES)}


@pytest.fixture(scope="module")
def sources(measured: dict[str, NDArray[np.float64]]) -> Sources:
    return Sources.of(_graphs(), measured)


@pytest.fixture(scope="module")
def new(truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Costs on a device that is part the second, part the fourth, with noise."""
    mixture = (truth / np.median(truth, 0)) @ np.array([0, 0.7, 0, 0.3, 0])
    return 20 * mixture * np.exp(np.random.default_rng(3).normal(0, _NOISE, len(truth)))


def _spearman(transfer: Transfer, rows: NDArray[np.int64], new: NDArray[np.float64]) -> float:
    predicted = transfer.fit(rows, new[rows]).predict().mean
    rest = np.setdiff1d(np.arange(len(new)), rows)
    return float(spearmanr(predicted[rest], new[rest]).statistic)


def test_a_mixture_of_the_sources_is_learnt_from_ten(
    sources: Sources, new: NDArray[np.float64]
) -> None:
    transfer = Transfer(sources)
    rows = transfer.suggest(10)
    assert _spearman(transfer, rows, new) > 0.9
    predicted = transfer.predict()
    assert np.median(np.abs(predicted.mean / new - 1)) < 0.15
    in_s = transfer.fit(rows, 1e-3 * new[rows]).predict()
    np.testing.assert_allclose(in_s.mean, 1e-3 * predicted.mean)
    assert in_s.std is not None
    assert predicted.std is not None
    np.testing.assert_allclose(in_s.std, 1e-3 * predicted.std)


def test_the_design_beats_random_networks(sources: Sources, new: NDArray[np.float64]) -> None:
    chosen, random = [], []
    for seed in range(12):
        transfer = Transfer(sources, seed, TransferPrior(candidates=120))
        chosen.append(_spearman(transfer, transfer.suggest(4), new))
        rows = np.random.default_rng(seed).choice(len(new), 4, replace=False)
        random.append(_spearman(transfer, rows, new))
    assert np.mean(chosen) > np.mean(random) + 0.01
    assert min(chosen) > min(random)


def test_sources_are_denoised_and_have_no_gaps(
    sources: Sources, truth: NDArray[np.float64], measured: dict[str, NDArray[np.float64]]
) -> None:
    assert not sources.measured[-60:, 0].any()
    assert sources.measured.sum() == _DEVICES * _NETWORKS - 60
    assert np.isfinite(sources.costs).all()
    assert spearmanr(sources.costs[-60:, 0], truth[-60:, 0]).statistic > 0.9
    # Medians differ by the noise: errors are compared about their own middle.
    cleaned = np.log(sources.costs[:, 1] / truth[:, 1])
    assert cleaned.std() < np.log(measured["latency_ms_1"] / truth[:, 1]).std()


def test_structure_tells_networks_apart_in_unit_variance(sources: Sources) -> None:
    assert sources.structure.mean(0) == pytest.approx(0, abs=1e-9)
    assert sources.structure.var(0).sum() == pytest.approx(1)
    assert (np.diff(sources.structure.var(0)) < 1e-12).all()


def test_what_may_be_chosen(sources: Sources) -> None:
    transfer = Transfer(sources)
    rows = transfer.suggest(30)
    assert len(set(rows)) == 30
    assert rows.max() < _NETWORKS - 60  # measured by all
    np.testing.assert_array_equal(transfer.suggest(5), rows[:5])
    usable = np.arange(_NETWORKS) >= _NETWORKS - 60
    rows = Transfer(sources, prior=TransferPrior(candidates=10)).suggest(60, usable)
    assert sorted(rows) == list(np.flatnonzero(usable))


def test_a_wrong_measurement_does_little_harm(sources: Sources, new: NDArray[np.float64]) -> None:
    wrong = new.copy()
    rows = Transfer(sources).suggest(10)
    wrong[rows[4]] *= 6
    error = {}
    for freedom in (4.0, 1e9):  # Student's t, and all but Gaussian
        transfer = Transfer(sources, prior=TransferPrior(freedom=freedom))
        predicted = transfer.fit(rows, wrong[rows]).predict().mean
        error[freedom] = np.median(np.abs(predicted / new - 1))
    assert error[4.0] < 0.7 * error[1e9]


def test_it_knows_better_what_it_measured(sources: Sources, new: NDArray[np.float64]) -> None:
    transfer = Transfer(sources)
    rows = transfer.suggest(10)
    few, many = (
        transfer.fit(some, new[some]).predict().std for some in (rows[:3], transfer.suggest(60))
    )
    assert few is not None
    assert many is not None
    assert few[rows[:3]].mean() < few.mean()
    assert many.mean() < few.mean()


def test_no_prediction_is_negative_and_none_changes_rank(
    sources: Sources, new: NDArray[np.float64]
) -> None:
    rows = np.argsort(new)[120::12]  # the cheaper half has to be extrapolated
    near_zero = new - 0.99 * new[rows].min()
    predicted = Transfer(sources).fit(rows, near_zero[rows]).predict().mean
    assert 0 < predicted.min() < 0.05 * np.median(near_zero[rows])
    assert len(np.unique(predicted)) > 0.9 * len(np.unique(sources.costs, axis=0))


def test_columns_are_left_out_by_name(
    sources: Sources, measured: dict[str, NDArray[np.float64]]
) -> None:
    fewer = sources.without(["latency_ms_0", "latency_ms_3"])
    again = Sources.of(_graphs(), {name: measured[name] for name in fewer.names})
    assert fewer.names == ("latency_ms_1", "latency_ms_2", "latency_ms_4")
    np.testing.assert_array_equal(fewer.costs, again.costs)
    np.testing.assert_array_equal(fewer.measured, again.measured)
    with pytest.raises(UserError, match=r"2 source columns \(latency_ms_1, latency_ms_2\)"):
        fewer.without(["latency_ms_4"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(7), "has 7 values for 240 networks"),
        (np.where(np.arange(_NETWORKS) < 19, 1.0, np.nan), "has 19 values: at least 20"),
        (np.arange(_NETWORKS) * 1.0, "has values from 0 to 239: a latency"),
        (np.full(_NETWORKS, 1e200), "positive and finite"),
        (np.full(_NETWORKS, 2.0), "all values of source 'bad' are 2; leave it out"),
    ],
)
def test_sources_that_cannot_be_learnt_from(
    measured: dict[str, NDArray[np.float64]], values: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Transfer.of(_graphs(), {**measured, "bad": values})


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        ([1, 2], [1, 2], "2 networks to measure: a transfer needs at least 3"),
        ([1, 2, 3], [1, 2], "3 networks but 2 values"),
        ([1, 2, 2], [1, 2, 3], "different ones of 0 to 239"),
        ([1, 2, 240], [1, 2, 3], "different ones of 0 to 239"),
        ([-1, 2, 3], [1, 2, 3], "different ones of 0 to 239"),
        ([1, 2, 3], [1, 2, 0], "positive and finite, not 0"),
        ([1, 2, 3], [1, 2, np.nan], "positive and finite, not nan"),
        ([1, 2, 3], [2, 2, 2], "all 3 values are 2: there is nothing to learn"),
    ],
)
def test_measurements_that_cannot_be_learnt_from(
    sources: Sources, rows: list[int], values: list[float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Transfer(sources).fit(np.array(rows), np.array(values, np.float64))


def test_bad_use(sources: Sources) -> None:
    transfer = Transfer(sources)
    with pytest.raises(UserError, match="not fitted"):
        transfer.predict()
    with pytest.raises(UserError, match="2 networks to measure: a transfer needs at least 3"):
        transfer.suggest(2)
    with pytest.raises(UserError, match="200 networks to measure, but only 180 may be chosen"):
        transfer.suggest(200)


def test_a_source_that_says_nothing_does_no_harm(
    sources: Sources, new: NDArray[np.float64]
) -> None:
    flat = np.ones((_NETWORKS, 1))
    more = replace(
        sources,
        names=(*sources.names, "flat"),
        costs=np.concatenate([sources.costs, flat], axis=1),
        measured=np.concatenate([sources.measured, flat > 0], axis=1),
    )
    transfer = Transfer(more)
    assert _spearman(transfer, transfer.suggest(10), new) > 0.9


def test_real_devices_from_ten_samples(shared: Path) -> None:
    """All cells and 16 columns give 0.96 on either; 700 cells and 5 columns are faster."""
    table = read_table(shared / "data" / "nasbench201.parquet")
    some = np.random.default_rng(0).permutation(len(table))[:700]
    names = ("hwnas_fpga", "hwnas_eyeriss", "latbench_sd450_cpu_int8", "help_gold_6226")
    columns = {}
    for name in (*names, "hwnas_pixel3", "hwnas360_pi5_litert"):
        column = f"latency_ms_{name}"
        values = np.where(table.judged(column).rows, table.metric(column), np.nan)
        columns[name] = values[some]
    graphs = [_SPACE.graph(_SPACE.parse(table.archs[row])) for row in some]
    sources = Sources.of(graphs, columns)
    for name in ("hwnas_pixel3", "hwnas360_pi5_litert"):
        transfer = Transfer(sources.without([name]))
        usable = np.isfinite(columns[name])
        rows = transfer.suggest(10, usable)
        predicted = transfer.fit(rows, columns[name][rows]).predict().mean
        usable[rows] = False
        assert spearmanr(predicted[usable], columns[name][usable]).statistic > 0.85
