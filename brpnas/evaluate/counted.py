"""What a low-rank network costs on paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.spaces import LowRankNetwork, LowRankSpace

__all__ = ["CountingEvaluator"]


class CountingEvaluator(Evaluator[LowRankNetwork]):
    """Counts multiply-accumulates and parameters, without building the networks.

    Args:
        space: of the networks.
    """

    metrics = ("macs", "params")

    def __init__(self, space: LowRankSpace) -> None:
        self._space = space

    def evaluate(self, archs: Sequence[LowRankNetwork]) -> Iterator[Evaluation]:
        """Yield the counts of each network, in order."""
        for arch in archs:
            macs, params = self._space.macs(arch), self._space.params(arch)
            yield Evaluation({"macs": float(macs), "params": float(params)})
