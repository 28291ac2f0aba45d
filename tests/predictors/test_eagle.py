from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from brpnas.predictors import EagleRanker, EagleRegressor, EagleSize, Predictor
from brpnas.predictors.eagle import _Cells, _Network, _Recipe, _train
from brpnas.spaces import Cell, Graph, NASBench201
from brpnas.testing import PredictorContract
from brpnas.testing.predictors import networks

_SPACE = NASBench201()
_GENTLE = _Recipe(batch=2, learning_rate=1e-3, dropout=0.0, cosine=False)


class TestRegressor(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return EagleRegressor(seed, size=EagleSize(hidden=32, layers=2, epochs=15))


class TestRanker(PredictorContract):
    def predictor(self, seed: int) -> Predictor:
        return EagleRanker(seed, size=EagleSize(hidden=32, layers=2, epochs=3))


def _cells(*texts: str, places: int = 8) -> _Cells:
    return _Cells.of([_SPACE.graph(_SPACE.parse(text)) for text in texts], places)


def test_a_cell_drawn_by_hand() -> None:
    cells = _cells(
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|"
    )
    links = cells.links[0].bool()
    # Node 0 is global, 1 the input, 2 to 7 the operations, 8 the output. The convolution's output
    # passes the skip connection to the pooling; what is none is gone.
    wanted = {(1, 2), (1, 5), (2, 7), (5, 8), (7, 8)}
    wanted |= {(0, node) for node in range(1, 9)} | {(node, node) for node in range(9)}
    assert {tuple(pair) for pair in links.nonzero().tolist()} == wanted
    names = [*_SPACE.schema.operations, "global"]
    shown = [names[row.argmax()] if row.any() else None for row in cells.kinds[0]]
    assert shown == [
        *("global", "input", "nor_conv_3x3", None, None),
        *("nor_conv_1x1", None, "avg_pool_3x3", "output"),
    ]


def test_two_skip_connections_in_a_row_pass_data_to_the_end() -> None:
    cells = _cells("|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    assert cells.links[0, 1, 8] == 1
    assert cells.links[0, 1:, 1:].sum() == 9  # each node itself, and that


def test_dead_branches_are_not_seen() -> None:
    """The reason why it fails on devices that run them."""
    form = "|nor_conv_3x3~0|+|none~0|{}~1|+|nor_conv_1x1~0|skip_connect~1|none~2|"
    cells = _cells(form.format("nor_conv_3x3"), form.format("avg_pool_3x3"))
    for part in (cells.links, cells.kinds):
        torch.testing.assert_close(part[0], part[1])


def test_a_cell_without_a_live_operation_has_an_embedding() -> None:
    graph = _SPACE.graph(Cell(("none",) * 6))
    network = _Network(8, EagleSize(16, 4), 1, 0.0).eval()
    assert torch.isfinite(network.embed(_Cells.of([graph], 8))).all()


def test_a_layer_adds_up_what_reads_a_node() -> None:
    network = _Network(8, EagleSize(16, 1), 1, 0.0).eval()
    cells = _cells(str(Cell(("nor_conv_3x3",) * 6)))
    layer = network.layers[0]
    assert isinstance(layer, torch.nn.Linear)
    # The global node sees itself, the input, six convolutions and the output.
    counts = torch.tensor([0.0, 0, 0, 6, 0, 1, 1, 1])
    raw = layer.weight @ counts + layer.bias
    wanted = torch.relu(torch.nn.functional.layer_norm(raw, (16,)))
    torch.testing.assert_close(network.embed(cells)[0], wanted)


def test_the_relation_is_not_antisymmetric_and_scores_are_its_mean_both_ways() -> None:
    graphs, values = networks(30)
    ranker = EagleRanker(size=EagleSize(16, 2, 3)).fit(graphs, values)
    scores = torch.from_numpy(ranker.predict(graphs).mean)
    embeddings = ranker._embeddings(graphs)

    def logit(first: Tensor, second: Tensor) -> Tensor:
        """Of the first being better."""
        said = ranker._network.head(torch.cat([first, second], 1))
        return (said[:, 0] - said[:, 1]).detach().double()

    one, other = logit(embeddings, embeddings.flip(0)), logit(embeddings.flip(0), embeddings)
    assert (one + other).abs().max() > 1e-3  # antisymmetric if this were zero
    torch.testing.assert_close((one - other) / 2, scores - scores.flip(0), atol=1e-5, rtol=1e-4)


def test_a_pair_of_far_networks_is_told_apart_by_the_head() -> None:
    graphs, values = networks(60)
    ranker = EagleRanker(size=EagleSize(32, 2, 6)).fit(graphs, values)
    best, worst = graphs[values.argmax()], graphs[values.argmin()]
    first, second = ranker._embeddings([best, worst])
    said = torch.softmax(ranker._network.head(torch.cat([first, second])), 0)
    # Softmax of standardised values several deviations apart.
    assert said[0] > 0.8


def test_training_stops_when_the_judge_sees_no_progress() -> None:
    network = _Network(8, EagleSize(8, 1), 1, 0.0)
    asked = 0

    def judge() -> float:
        nonlocal asked
        asked += 1
        return 1.0

    _train(network, _GENTLE, 250, 4, _pull(network), judge)
    assert asked == 1 + 35


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    network = _Network(8, EagleSize(8, 1), 1, 0.0)
    seen: list[Tensor] = []

    def judge() -> float:
        seen.append(network.head.weight.detach().clone())
        return abs(len(seen) - 3.0)

    _train(network, _GENTLE, 6, 4, _pull(network), judge)
    assert len(seen) == 6
    torch.testing.assert_close(network.head.weight, seen[2])
    assert (seen[2] - seen[5]).abs().max() > 0


def _pull(network: _Network) -> Callable[[Tensor], Tensor]:
    return lambda items: len(items) * network.head.weight.square().sum()


def test_larger_networks_than_those_learnt_from_are_predicted(
    first_nodes: Callable[[Graph, int], Graph],
) -> None:
    graphs, values = networks(12)
    small = [first_nodes(graph, 5) for graph in graphs]
    predictor = EagleRegressor(size=EagleSize(8, 2, 2)).fit(small, values)
    mixed = predictor.predict([*small, *graphs]).mean
    np.testing.assert_allclose(mixed[:12], predictor.predict(small).mean, rtol=1e-4)
    assert np.isfinite(mixed).all()


@pytest.mark.parametrize("valid", [0.0, 0.95])
def test_all_or_nothing_held_out(valid: float) -> None:
    graphs, values = networks(6)
    predictor = EagleRegressor(valid=valid, size=EagleSize(8, 1, 2)).fit(graphs, values)
    assert np.isfinite(predictor.predict(graphs).mean).all()
