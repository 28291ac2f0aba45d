from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from brpnas.datasets import read_table
from brpnas.errors import UserError
from brpnas.predictors import GPRanker, GPRegressor, Predictor, quality
from brpnas.predictors import gp as module
from brpnas.spaces import Graph, NASBench201
from brpnas.testing import PredictorContract
from brpnas.testing.predictors import networks


class TestRegressor(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return GPRegressor(seed)


class TestRanker(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return GPRanker(seed)


@pytest.mark.parametrize("change", [lambda v: v, lambda v: 1e-3 * v, lambda v: v - 100])
def test_regression_keeps_unit_and_scale(
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    graphs, values = networks(700)
    values = change(values)  # the last is negative: no logarithm
    prediction = GPRegressor().fit(graphs[:300], values[:300]).predict(graphs[300:])
    error = np.abs(prediction.mean - values[300:])
    assert error.mean() < 0.4 * values.std()
    assert prediction.std is not None
    assert 0.8 < (error < 1.645 * prediction.std).mean() < 0.98


def test_real_latency_is_predicted_and_its_error_known(shared: Path) -> None:
    table = read_table(shared / "data" / "nasbench201.parquet")
    column = "latency_ms_latbench_gtx1080ti_fp32"
    rows = np.random.default_rng(0).permutation(np.flatnonzero(table.judged(column).rows))[:1200]
    space = NASBench201()
    graphs = [space.graph(space.parse(table.archs[row])) for row in rows]
    values = table.metric(column)[rows]
    prediction = GPRegressor().fit(graphs[:300], values[:300]).predict(graphs[300:])
    judged = quality(values[300:], prediction.mean)
    assert judged.within_10pct > 0.93  # boosted trees: 0.93 with 900
    assert prediction.std is not None
    covered = np.abs(prediction.mean - values[300:]) < 1.645 * prediction.std
    assert 0.85 < covered.mean() < 0.96


def test_outliers_do_not_spoil_the_rest() -> None:
    graphs, values = networks(400)
    spoilt = values.copy()
    spoilt[:300:20] *= 3  # by forty times the deviation of the metric
    robust = GPRegressor().fit(graphs[:300], spoilt[:300]).predict(graphs[300:]).mean
    assert np.abs(robust - values[300:]).mean() < 0.3 * values.std()


def test_swapped_networks_have_the_complement() -> None:
    graphs, values = networks(60)
    scores = [GPRanker().fit(graphs, sign * values).predict(graphs).mean for sign in (1, -1)]
    np.testing.assert_allclose(scores[0], -scores[1], atol=1e-3)


def test_only_relations_count_for_the_ranking() -> None:
    graphs, values = networks(60)
    scores = [GPRanker().fit(graphs, v).predict(graphs).mean for v in (values, np.exp(values))]
    np.testing.assert_array_equal(scores[0], scores[1])


@pytest.mark.parametrize("change", ["operations", "live", "edges"])
def test_written_and_surviving_graph_and_direction_are_all_seen(change: str) -> None:
    graphs, values = networks(60)
    graph = next(one for one in graphs if one.live.sum() == 6)
    last = len(graph.operations) - 2
    changed = replace(
        graph,
        operations=np.where(np.arange(8) == last, (graph.operations + 1) % 5, graph.operations)
        if change == "operations"
        else graph.operations,
        edges=graph.edges[:, ::-1] if change == "edges" else graph.edges,
        live=~graph.live if change == "live" else graph.live,
    )
    # Edges that differ are only taken where the training graphs' differ too.
    first = replace(graphs[0], edges=graphs[0].edges[:-1])
    predictor = GPRegressor().fit([first, *graphs[1:]], values)
    before, after = predictor.predict([graph, changed]).mean
    assert abs(before - after) > 1e-4


def test_graphs_of_any_shape_in_any_order_of_nodes(
    first_nodes: Callable[[Graph, int], Graph],
    reordered: Callable[[Graph, NDArray[np.int64]], Graph],
) -> None:
    graphs, values = networks(80)
    graphs[0] = first_nodes(graphs[0], 5)
    predictor = GPRegressor().fit(graphs[:60], values[:60])
    assert spearmanr(predictor.predict(graphs[60:]).mean, values[60:])[0] > 0.5
    one = graphs[70]
    shuffled = reordered(one, np.array([3, 1, 7, 0, 6, 2, 5, 4]))
    before, after = predictor.predict([one, shuffled]).mean
    assert before == pytest.approx(after, rel=1e-4)


def test_other_edges_than_all_training_networks_have_are_the_users_error() -> None:
    graphs, values = networks(20)
    predictor = GPRegressor().fit(graphs, values)
    with pytest.raises(UserError, match="have the same edges"):
        predictor.predict([replace(graphs[0], edges=graphs[0].edges[:-1])])


def test_a_network_without_a_live_node_is_predicted() -> None:
    graphs, values = networks(40)
    dead = replace(graphs[0], live=np.zeros_like(graphs[0].live))
    assert np.isfinite(GPRegressor().fit(graphs, values).predict([dead]).mean).all()


def test_equal_networks_with_unequal_values() -> None:
    graphs, values = networks(20)
    prediction = GPRegressor().fit(graphs * 2, np.concatenate([values, 1.1 * values]))
    between = prediction.predict(graphs).mean
    assert ((0.9 * values < between) & (between < 1.2 * values)).mean() > 0.9


def test_many_networks_are_used_beyond_those_that_lengths_are_learnt_from(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graphs, values = networks(300)
    monkeypatch.setattr(module, "_LEARNT_FROM", 60)
    few = GPRegressor().fit(graphs[:60], values[:60]).predict(graphs[200:]).mean
    more = GPRegressor().fit(graphs[:200], values[:200]).predict(graphs[200:]).mean
    assert np.abs(more - values[200:]).mean() < np.abs(few - values[200:]).mean()
    monkeypatch.setattr(module, "_MOST", 100)
    GPRegressor().fit(graphs[:200], values[:200])
    assert "of 200 networks 100 are used" in caplog.text
