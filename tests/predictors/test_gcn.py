from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from brpnas.predictors import GCNRanker, GCNRegressor, GCNSize, Predictor
from brpnas.predictors._batch import GraphBatch
from brpnas.predictors._network import GraphNetwork, NetworkSize
from brpnas.predictors._training import Training
from brpnas.predictors.gcn import _binary_relation
from brpnas.spaces import Graph
from brpnas.testing import PredictorContract
from brpnas.testing.predictors import networks

_SMALL = GCNSize(hidden=24, layers=2, members=2)


class TestRegressor(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return GCNRegressor(seed, size=_SMALL, training=Training(epochs=60))


class TestRanker(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return GCNRanker(seed, size=_SMALL)


@pytest.fixture
def network() -> GraphNetwork:
    torch.manual_seed(0)
    return GraphNetwork(NetworkSize(7, 4, hidden=16, layers=2, members=2)).eval()


def test_edges_of_all_and_edges_of_each_score_alike(network: GraphNetwork) -> None:
    graphs, _ = networks(50)
    shared, own = GraphBatch.of(graphs), GraphBatch.of(graphs, shared=False)
    assert (shared.adjacency.shape, own.adjacency.shape) == ((8, 8), (50, 8, 8))
    network.calibrate(shared)
    torch.testing.assert_close(network(shared), network(own), rtol=1e-4, atol=1e-5)


def test_graphs_of_different_sizes_do_not_disturb_each_other(
    network: GraphNetwork, first_nodes: Callable[[Graph, int], Graph]
) -> None:
    graphs, _ = networks(3)
    whole = graphs[0]
    part = first_nodes(whole, 5)
    mixed = network(GraphBatch.of([whole, part, *graphs[1:]]))
    torch.testing.assert_close(mixed[:, 1:2], network(GraphBatch.of([part])))
    torch.testing.assert_close(
        mixed[:, [0, 2, 3]], network(GraphBatch.of(graphs)), rtol=1e-4, atol=1e-5
    )


def test_the_order_of_nodes_does_not_matter(
    network: GraphNetwork, reordered: Callable[[Graph, NDArray[np.int64]], Graph]
) -> None:
    graph = networks(1)[0][0]
    shuffled = reordered(graph, np.array([3, 1, 7, 0, 6, 2, 5, 4]))
    torch.testing.assert_close(
        network(GraphBatch.of([graph])), network(GraphBatch.of([shuffled])), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("change", ["operations", "live", "edges"])
def test_written_and_surviving_graph_and_direction_are_all_seen(
    network: GraphNetwork, change: str
) -> None:
    graph = networks(1)[0][0]
    changed = Graph(
        graph.schema,
        np.where(np.arange(8) == 2, (graph.operations + 1) % 5, graph.operations)
        if change == "operations"
        else graph.operations,
        graph.numbers,
        graph.edges[:, ::-1] if change == "edges" else graph.edges,
        ~graph.live if change == "live" else graph.live,
    )
    before, after = (network(GraphBatch.of([each])) for each in (graph, changed))
    assert (before - after).abs().min() > 1e-4


def test_a_network_without_a_live_node_has_a_finite_score(network: GraphNetwork) -> None:
    graph = networks(1)[0][0]
    dead = Graph(
        graph.schema, graph.operations, graph.numbers, graph.edges, np.zeros_like(graph.live)
    )
    for shared in (True, False):
        assert network(GraphBatch.of([dead], shared=shared)).abs().max() < 100


def test_members_do_not_touch_each_other(network: GraphNetwork) -> None:
    batch = GraphBatch.of(networks(5)[0])
    network(batch)[1].sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad[0].abs().max() == 0, name


def test_the_relation_is_antisymmetric_and_smallest_at_the_truth() -> None:
    targets = torch.tensor([0.3, -1.0, 0.7])
    right = _binary_relation(4 * targets[None], targets)
    swapped = _binary_relation(-4 * targets[None], targets)
    shifted = _binary_relation(4 * targets[None] + 5, targets)
    assert right < swapped
    torch.testing.assert_close(right, shifted)
    for step in (0.5, 2.0):
        assert right < _binary_relation(4 * step * targets[None], targets)


def test_the_score_as_a_sum_is_that_of_its_nodes(
    first_nodes: Callable[[Graph, int], Graph],
) -> None:
    size = NetworkSize(7, 4, hidden=16, layers=2, members=2, deviation=0.5)
    network = GraphNetwork(size).eval()
    graphs, _ = networks(3)
    graphs.append(first_nodes(graphs[0], 5))
    network.calibrate(GraphBatch.of(graphs))
    assert network.mean_nodes == (8 + 8 + 8 + 5) / 4
    assert network.term is not None
    with torch.no_grad():
        network.term.weight.zero_()
        network.term.bias.fill_(np.log(3) / 0.5)  # each node costs 3
    found = network(GraphBatch.of(graphs))
    assert found.shape == (4, 4)
    total = torch.tensor([24.0, 24.0, 24.0, 15.0])
    torch.testing.assert_close(found[2:], ((total / 7.25).log() / 0.5).expand(2, -1))


@pytest.mark.parametrize("additive", [True, False])
def test_a_cost_that_adds_up_is_learnt_as_a_sum(additive: bool) -> None:
    graphs, values = networks(160)
    if additive:
        prices = np.array([1.0, 5.0, 1.5, 1.0, 3.0])
        values = np.array([prices[each.operations[each.live] % 5].sum() + 0.1 for each in graphs])
    predictor = GCNRegressor(valid=0.25, size=_SMALL, training=Training(batch=16))
    predictor.fit(graphs[:120], values[:120])
    errors = {}
    for share in (0.0, 1.0, predictor.share):
        predictor.share = share
        said = predictor.predict(graphs[120:]).mean
        errors[share] = np.abs(np.log(said / values[120:])).mean()
    assert errors[predictor.share] < 1.1 * min(errors.values())
    if additive:
        assert predictor.share > 0.5
        assert errors[1.0] < errors[0.0]


def test_a_metric_that_is_not_positive_is_no_sum() -> None:
    graphs, values = networks(20)
    predictor = GCNRegressor(size=_SMALL, training=Training(epochs=2)).fit(graphs, values - 100)
    assert predictor.share == 0
    assert len(predictor._scores(graphs)) == _SMALL.members


def test_regression_keeps_unit_and_scale() -> None:
    graphs, values = networks(200)
    for scaled in (values, 1e-3 * values, values - 100):  # the last is negative: no logarithm
        predictor = GCNRegressor(size=_SMALL, training=Training(epochs=60))
        prediction = predictor.fit(graphs[:150], scaled[:150]).predict(graphs[150:])
        assert prediction.std is not None
        error = prediction.mean - scaled[150:]
        assert np.abs(error).mean() < 0.5 * scaled.std()
        # The stated deviation is of the size of the errors.
        assert 0.3 < np.sqrt(np.mean((error / prediction.std) ** 2)) < 3


def test_without_held_out_networks_no_deviation_is_claimed() -> None:
    graphs, values = networks(20)
    predictor = GCNRegressor(valid=0, size=_SMALL, training=Training(epochs=3))
    assert predictor.fit(graphs, values).predict(graphs).std is None


def test_what_is_held_out_is_not_learnt_from() -> None:
    graphs, values = networks(60)

    def fit() -> GCNRegressor:
        return GCNRegressor(valid=0.3, size=_SMALL, training=Training(epochs=3))

    first = fit().fit(graphs, values)
    rows = first.held_out
    assert len(rows) == 18
    values[rows] = np.random.default_rng(0).permutation(values[rows])  # mean and deviation stay
    again = fit().fit(graphs, values)
    np.testing.assert_array_equal(again.held_out, rows)
    first.share = again.share = 0.5  # which the held-out networks tell, and the network does not
    np.testing.assert_allclose(again.predict(graphs).mean, first.predict(graphs).mean, rtol=1e-6)
    assert not np.allclose(np.array(again.predict(graphs).std), np.array(first.predict(graphs).std))


def test_almost_everything_held_out_leaves_one_to_learn_from() -> None:
    graphs, values = networks(5)
    predictor = GCNRegressor(valid=0.95, size=_SMALL, training=Training(epochs=2))
    assert np.isfinite(predictor.fit(graphs, values).predict(graphs).mean).all()


def test_an_edge_that_is_written_twice_counts_twice(network: GraphNetwork) -> None:
    graph = networks(1)[0][0]
    doubled = replace(graph, edges=np.concatenate([graph.edges, graph.edges[:3]]))
    shared, own = (network(GraphBatch.of([doubled], shared=one)) for one in (True, False))
    torch.testing.assert_close(shared, own, rtol=1e-4, atol=1e-5)
    once = network(GraphBatch.of([graph]))
    assert (shared - once).abs().min() > 1e-4


def test_all_of_a_batch_stays_on_its_device(network: GraphNetwork) -> None:
    """On tensors without content, which refuse to be mixed with the CPU's as a GPU's do."""
    device = torch.device("meta")
    batch = GraphBatch.of(networks(6)[0]).to(device)
    part = batch.take(torch.arange(4, device=device))
    assert {value.device for value in vars(part).values() if isinstance(value, Tensor)} == {device}
    assert network.to(device)(part).shape == (2, 4)
