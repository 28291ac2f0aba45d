from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.predictors import (
    EagleRanker,
    EagleRegressor,
    EagleSize,
    FlopsPredictor,
    LayerwisePredictor,
    MLPPredictor,
    Predictor,
    SavablePredictor,
    TreesPredictor,
    TreesSize,
    quality,
)
from brpnas.predictors._baseline import Columns, pack, unpack
from brpnas.spaces import Graph, NASBench201
from brpnas.testing import PredictorContract
from brpnas.testing.predictors import networks

_SPACE = NASBench201()
_MACS = _SPACE.schema.numbers.index("macs_m")
_FEW_TREES = TreesSize(boosted=60, randomised=30)


class TestTrees(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return TreesPredictor(seed, size=_FEW_TREES)


class TestMLP(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return MLPPredictor(seed)


class TestLayerwise(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return LayerwisePredictor(seed)


class TestFlops(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return FlopsPredictor(seed)


_BASELINES: dict[str, Callable[[], SavablePredictor]] = {
    "trees": lambda: TreesPredictor(7, size=_FEW_TREES),
    "mlp": lambda: MLPPredictor(7),
    "layerwise": LayerwisePredictor,
    "flops": FlopsPredictor,
    "eagle-regressor": lambda: EagleRegressor(7, size=EagleSize(8, 2, 2)),
    "eagle-ranker": lambda: EagleRanker(7, size=EagleSize(8, 2, 2)),
}
each_baseline = pytest.mark.parametrize("name", _BASELINES)
# The published graph network is no better than its training is long.
each_good_one = pytest.mark.parametrize("name", ["trees", "mlp", "layerwise", "flops"])


Ragged = Callable[[int], tuple[list[Graph], NDArray[np.float64]]]


@pytest.fixture
def ragged(first_nodes: Callable[[Graph, int], Graph]) -> Ragged:
    """Return graphs of which every second one lacks its last two nodes, and their metric."""

    def draw(n: int) -> tuple[list[Graph], NDArray[np.float64]]:
        graphs, values = networks(n)
        cut = [first_nodes(graph, 6) if row % 2 else graph for row, graph in enumerate(graphs)]
        return cut, values

    return draw


@each_good_one
def test_the_unit_is_kept(name: str) -> None:
    graphs, values = networks(200)
    # The last is negative: it has no logarithm.
    for scaled in (values, 1e-3 * values, values - 100):
        predicted = _BASELINES[name]().fit(graphs[:150], scaled[:150]).predict(graphs[150:])
        assert predicted.std is None
        assert np.abs(predicted.mean - scaled[150:]).mean() < 0.7 * scaled.std()


@each_baseline
def test_graphs_of_different_shapes(name: str, ragged: Ragged) -> None:
    graphs, values = ragged(60)
    predictor = _BASELINES[name]().fit(graphs[:40], values[:40])
    predicted = predictor.predict(graphs).mean
    assert np.ptp(predicted) > 0
    np.testing.assert_allclose(predictor.predict(graphs[41:42]).mean, predicted[41:42], rtol=1e-4)
    again = type(predictor).restored(predictor.settings(), _SPACE.schema, predictor.state())
    np.testing.assert_array_equal(again.predict(graphs).mean, predicted)


@pytest.mark.parametrize("name", ["trees", "mlp", "layerwise"])
def test_other_edges_than_those_learnt_are_the_users_error(name: str, ragged: Ragged) -> None:
    graphs, values = networks(20)
    predictor = _BASELINES[name]().fit(graphs, values)
    with pytest.raises(UserError, match="have the same edges, and some"):
        predictor.predict(ragged(4)[0])


@each_baseline
def test_networks_that_look_equal_get_one_prediction(name: str) -> None:
    graph = networks(1)[0][0]
    predicted = _BASELINES[name]().fit([graph] * 6, np.arange(1.0, 7.0)).predict([graph] * 2)
    assert predicted.mean[0] == pytest.approx(predicted.mean[1])
    assert np.isfinite(predicted.mean).all()


# mlp


def test_a_saved_perceptron_is_no_larger_for_having_learnt_from_more() -> None:
    graphs, values = networks(400)
    arrays = []
    for n in (100, 400):
        state = MLPPredictor().fit(graphs[:n], values[:n]).state()
        arrays.append({name: value for name, value in state.items() if "network" not in name})
    few, many = (sum(value.size for value in state.values()) for state in arrays)
    assert many < 1.1 * few


@pytest.mark.parametrize("kept", [-1, 10**6])
def test_columns_that_no_network_has_are_refused(kept: int) -> None:
    predictor = MLPPredictor().fit(*networks(20))
    state = predictor.state()
    state["columns.kept"][-1] = kept
    with pytest.raises(ValueError, match="not among the"):
        MLPPredictor.restored(predictor.settings(), _SPACE.schema, state)


# layerwise


@pytest.mark.parametrize("sign", [1, -1])
def test_an_additive_table_is_found_exactly(sign: int) -> None:
    rng = np.random.default_rng(0)
    graphs, _ = networks(300)
    costs = sign * rng.uniform(-1, 5, (8, len(_SPACE.schema.operations)))
    values = np.array(
        [3 + sum(costs[n, g.operations[n]] for n in np.flatnonzero(g.live)) for g in graphs]
    )
    predicted = LayerwisePredictor().fit(graphs[:150], values[:150]).predict(graphs[150:])
    np.testing.assert_allclose(predicted.mean, values[150:], atol=1e-5)


def test_a_table_for_graphs_of_different_shapes_counts_operations(ragged: Ragged) -> None:
    graphs, _ = ragged(200)
    costs = np.array([0.0, 1.0, 2.0, 4.0, 1.5, 0.3, 0.2])
    values = np.array([0.5 + costs[graph.operations[graph.live]].sum() for graph in graphs])
    predicted = LayerwisePredictor().fit(graphs[:100], values[:100]).predict(graphs[100:])
    np.testing.assert_allclose(predicted.mean, values[100:], atol=1e-5)


def test_a_table_of_few_networks_and_much_noise_stays_within_reason() -> None:
    graphs, values = networks(300)
    noisy = values + np.random.default_rng(0).normal(0, values.std(), 300)
    # As many networks as unknowns: plain least squares are off by many times the deviation.
    predicted = LayerwisePredictor().fit(graphs[:30], noisy[:30]).predict(graphs[30:])
    assert np.abs(predicted.mean - values[30:]).mean() < 1.5 * values.std()


# flops


@pytest.mark.parametrize("sign", [1, -1])
def test_a_prediction_from_macs_is_monotone(sign: int) -> None:
    graphs, _ = networks(300)
    macs = np.array([graph.numbers[:, _MACS].sum() for graph in graphs], float)
    noise = np.random.default_rng(0).normal(0, 20, 300)
    predictor = FlopsPredictor().fit(graphs[:150], sign * (macs + noise)[:150])
    predicted = sign * predictor.predict(graphs).mean
    assert (np.diff(predicted[macs.argsort()]) >= 0).all()
    assert np.ptp(predicted) > 0.5 * np.ptp(macs)


@pytest.mark.parametrize("pruned", [False, True])
def test_macs_are_counted_as_the_metric_counts_them(pruned: bool) -> None:
    graphs, _ = networks(400)
    counted = [g.numbers[g.live if pruned else slice(None), _MACS].sum() for g in graphs]
    macs = np.array(counted, float)
    predicted = FlopsPredictor().fit(graphs[:300], (1 + macs)[:300]).predict(graphs[300:])
    # Sums that were seen in training, which are nearly all, are predicted exactly.
    assert (np.abs(predicted.mean / (1 + macs[300:]) - 1) < 1e-6).mean() > 0.9


def test_graphs_without_macs_are_the_users_error() -> None:
    graphs, values = networks(20)
    schema = replace(_SPACE.schema, numbers=("a", "b", "macs per second", "d"))
    blind = [replace(graph, schema=schema) for graph in graphs]
    with pytest.raises(UserError, match=r"do not say \(they say: a, b, macs per second, d\)"):
        FlopsPredictor().fit(blind, values)


# trees


def test_trees_see_dead_branches() -> None:
    """A device that runs what was written, and passes data along the longest live path."""
    graphs, _ = networks(400, seed=3)
    options = np.array([graph.operations[1:7] for graph in graphs])
    live = np.array([graph.live[1:7] for graph in graphs])
    dead = ((options == 2) | (options == 3)) & ~live
    assert dead.any(1).mean() > 0.1
    written = np.array([0.0, 0.1, 1.0, 3.0, 0.7])[options].sum(1)
    values = 1 + written + 2 * (live & (options == 4)).any(1)
    errors = {}
    for name in ("flops", "layerwise", "trees"):
        predicted = _BASELINES[name]().fit(graphs[:300], values[:300]).predict(graphs[300:])
        errors[name] = np.abs(predicted.mean / values[300:] - 1).mean()
    assert errors["trees"] < 0.5 * min(errors["flops"], errors["layerwise"])


def test_trees_weigh_their_kinds_by_what_left_out_networks_say() -> None:
    graphs, values = networks(240)
    many = TreesPredictor(size=_FEW_TREES).fit(graphs, values).state()["share"]
    assert many[0] > 0.5


def test_trees_rank_by_a_few_networks() -> None:
    """Boosting cannot split so few, and predicts their mean."""
    graphs, values = networks(200)
    predictor = TreesPredictor(size=_FEW_TREES).fit(graphs[:15], values[:15])
    assert predictor.state()["share"][0] == 0
    assert quality(values[15:], predictor.predict(graphs[15:]).mean).spearman > 0.4


def test_on_a_real_device_that_runs_dead_branches_trees_beat_the_table(shared: Path) -> None:
    frame = pd.read_parquet(
        shared / "data" / "nasbench201.parquet", columns=["arch", "latency_ms_hwnas_fpga"]
    )
    frame = frame[frame.iloc[:, 1] > 0].sample(1200, random_state=0)
    graphs = [_SPACE.graph(_SPACE.parse(text)) for text in frame["arch"]]
    values = frame["latency_ms_hwnas_fpga"].to_numpy(float)
    judged = {}
    for name in ("trees", "layerwise"):
        predicted = _BASELINES[name]().fit(graphs[:400], values[:400]).predict(graphs[400:])
        judged[name] = quality(values[400:], predicted.mean)
    assert judged["trees"].spearman > 0.99
    assert judged["layerwise"].spearman < 0.95


# what they share


def test_columns_that_say_nothing_are_left_out() -> None:
    graphs, _ = networks(50)
    columns = Columns.of(graphs)
    table = columns(graphs)
    assert (np.ptp(table, axis=0) > 0).all()
    assert len(np.unique(table, axis=1).T) == table.shape[1]
    # What tells the networks apart as written is still there.
    options = {tuple(graph.operations.tolist()) for graph in graphs}
    assert len(np.unique(table, axis=0)) == len(options) == 50


def test_graphs_come_back_from_arrays(ragged: Ragged) -> None:
    graphs, _ = ragged(9)
    for before, after in zip(graphs, unpack(_SPACE.schema, pack(graphs)), strict=True):
        for name in ("operations", "numbers", "edges", "live"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.pop(name)


def _shortened(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({name: state[name][:-1]})


def _raised(name: str, by: int) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({name: state[name] + by})


@pytest.mark.parametrize(
    "damage",
    [
        *map(_without, ("nodes", "links", "operations", "numbers", "edges", "live")),
        *map(_shortened, ("nodes", "links", "operations", "numbers", "edges", "live")),
        *(
            _raised(name, by)
            for name in ("nodes", "links", "operations", "edges")
            for by in (9, -9)
        ),
        lambda state: state.update(numbers=state["numbers"][:, 1:]),
        lambda state: state.update(edges=state["edges"].ravel()),
    ],
)
def test_damaged_arrays_of_graphs_are_refused(
    damage: Callable[[dict[str, Any]], object], ragged: Ragged
) -> None:
    state = pack(ragged(9)[0])
    damage(state)
    with pytest.raises((KeyError, ValueError)):
        unpack(_SPACE.schema, state)
