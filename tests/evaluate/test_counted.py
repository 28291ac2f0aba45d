from __future__ import annotations

from brpnas.evaluate.counted import CountingEvaluator
from brpnas.lowrank import LayerShape, Positions
from brpnas.lowrank.flow import IMAGE, SCORES, Flow
from brpnas.spaces import LowRankNetwork, LowRankSpace


def test_counts_by_hand_in_order() -> None:
    shape = LayerShape(
        8, 4, (3, 3), False, True, Positions(100, 100, 100), (1, 4, 10, 10), (1, 8, 10, 10)
    )
    flow = Flow((IMAGE, "conv", SCORES), ((0, 1), (1, 2)))
    space = LowRankSpace({"conv": shape}, flow, {}, fixed_macs=7, fixed_params=5)
    evaluator = CountingEvaluator(space)
    assert evaluator.metrics == ("macs", "params")
    found = list(evaluator.evaluate([space.parse("conv=separable:r2"), LowRankNetwork()]))
    pair = 2 * (3 * 4 + 3 * 8)  # rank, and weights of 1 x 3 and 3 x 1
    assert [one.metrics for one in found] == [
        {"macs": 100.0 * pair + 7, "params": pair + 8 + 5.0},
        {"macs": 100.0 * 288 + 7, "params": 288 + 8 + 5.0},
    ]
    assert not any(one.error for one in found)
