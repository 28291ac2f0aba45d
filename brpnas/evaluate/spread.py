"""Compressed networks compared with the original by several workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, overload

from torch import Tensor, nn

from brpnas.evaluate.compressed import Compressed, CompressedEvaluator
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.executors import Executor, Handle
from brpnas.lowrank import Choice, Layers, LayerWeights, WeightSource

__all__ = ["SpreadEvaluator"]

A = TypeVar("A", bound=Compressed)
W = TypeVar("W")
_MOST = 16
"""Networks of one piece of work: more share more of their beginnings, but are lost together."""


class SpreadEvaluator(Evaluator[A]):
    """Compares compressed networks as `CompressedEvaluator` does, several at a time.

    The network and the images go to each worker once; with a piece of work go only the weights of
    its pairs. Where a worker dies of one network, the others of its piece are compared again.

    Args:
        judge: knows the metrics, and what is hopeless.
        model: the network as it is.
        layers: of it.
        source: of pairs' weights.
        images: that networks are compared on.
        labels: their classes, or None.
        executor: compares.
        workers: how many it has, if that is known.

    Raises:
        UserError: the network cannot be sent to the workers.
    """

    def __init__(
        self,
        judge: CompressedEvaluator[A],
        model: nn.Module,
        layers: Layers,
        source: WeightSource,
        images: Tensor,
        labels: Tensor | None,
        executor: Executor,
        workers: int | None,
    ) -> None:
        self.metrics = judge.metrics
        self._judge, self._source = judge, source
        self._executor, self._workers = executor, workers or _MOST
        comparison: _Comparison[A] = _Comparison(model, layers, images, labels)
        self._compare = _Compare(executor.publish(comparison))

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the metrics of each network, in order; one that fails has NaN and the reason."""
        size = max(1, min(_MOST, -(-len(archs) // self._workers)))
        parts = [archs[at : at + size] for at in range(0, len(archs), size)]
        works = _Lazy(len(parts), lambda place: self._work(parts[place]))
        outcomes = self._executor.run(self._compare, works)
        for part, outcome in zip(parts, outcomes, strict=True):
            if outcome.value is not None:
                yield from outcome.value
            elif len(part) == 1:
                yield Evaluation(dict.fromkeys(self.metrics, float("nan")), outcome.error)
            else:
                for arch in part:
                    yield from self.evaluate([arch])

    def _work(self, archs: Sequence[A]) -> _Work[A]:
        pairs = dict.fromkeys(
            (name, choice)
            for arch in archs
            for name, choice in arch.choices.items()
            if choice.pairs
        )
        weights = {pair: self._source.weights(*pair) for pair in pairs}
        return _Work(list(archs), weights, self._judge.stop_below)


@dataclass(frozen=True)
class _Work(Generic[A]):
    archs: list[A]
    weights: Mapping[tuple[str, Choice], LayerWeights]
    stop_below: float | None


@dataclass(eq=False)
class _Given:
    """Weights that came with a piece of work."""

    layers: Layers
    known: Mapping[tuple[str, Choice], LayerWeights] = field(default_factory=dict)

    def weights(self, name: str, choice: Choice) -> LayerWeights:
        return self.known[name, choice]


@dataclass(eq=False)
class _Comparison(Generic[A]):
    """What a worker gets once, and what it makes of that once."""

    model: nn.Module
    layers: Layers
    images: Tensor
    labels: Tensor | None
    made: tuple[CompressedEvaluator[A], _Given] | None = None

    def evaluator(self, work: _Work[A]) -> CompressedEvaluator[A]:
        if self.made is None:
            given = _Given(self.layers)
            judge: CompressedEvaluator[A] = CompressedEvaluator(
                self.model, self.layers, given, self.images, self.labels
            )
            self.made = judge, given
        judge, given = self.made
        given.known = work.weights
        judge.stop_below = work.stop_below
        return judge


@dataclass(frozen=True)
class _Compare(Generic[A]):
    comparison: Handle[_Comparison[A]]

    def __call__(self, work: _Work[A]) -> list[Evaluation]:
        return list(self.comparison.get().evaluator(work).evaluate(work.archs))


@dataclass(frozen=True)
class _Lazy(Sequence[W]):
    """Items that are made when they are asked for: the weights of all at once are too many."""

    size: int
    make: Callable[[int], W]

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, place: int) -> W: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[W]: ...
    def __getitem__(self, place: int | slice) -> W | Sequence[W]:
        if isinstance(place, slice):
            return [self.make(one) for one in range(self.size)[place]]
        if not 0 <= place < self.size:
            raise IndexError(place)
        return self.make(place)
