"""What a compressed network is worth: how far it answers as the original does, on images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from brpnas.errors import UserError, one_line
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.evaluating import evaluating
from brpnas.lowrank import Choice, Layers, WeightSource
from brpnas.lowrank.staged import StagedNetwork
from brpnas.spaces import Architecture

__all__ = ["Compressed", "CompressedEvaluator", "accuracy_pct"]

_BATCH = 64
"""Images: small enough that what a layer returns stays in the processor's cache."""
_TOGETHER = 32
"""Networks that share their beginnings, and whose evaluations are known at once."""
_MARGIN = 4.0
"""Standard errors by which the objective of a hopeless network is below the bound."""


class Compressed(Architecture, Protocol):
    """A version of a network with pairs in the place of layers."""

    @property
    def choices(self) -> Mapping[str, Choice]:
        """What takes each layer's place, by its name; others stay as they are."""
        ...


A = TypeVar("A", bound=Compressed)


class CompressedEvaluator(Evaluator[A]):
    """Compares compressed networks with the original on calibration images; all higher is better.

    - ``fidelity``: minus the mean of KL(original || compressed) of the softmax outputs, in nats.
    - ``agreement_pct``: images whose top class is the original's.
    - ``accuracy_pct``, with labels: images whose top class is right.
    - ``log_likelihood``, with labels: mean logarithm of the right class's share, in nats.

    Attributes:
        original: the metrics of the network as it is.
        stop_below: a value of the objective, or None. A network that after a quarter of the images,
            drawn at random, is below it by four standard errors sees no more of them; its metrics
            are those of the images that it saw.
    """

    stop_below: float | None = None

    def __init__(
        self,
        model: nn.Module,
        layers: Layers,
        source: WeightSource,
        images: Tensor,
        labels: Tensor | None = None,
    ) -> None:
        """Run the original once.

        Args:
            model: returns scores, shape (n, classes); not to be changed later.
            layers: of it.
            source: of pairs' weights.
            images: as the network takes them, shape (n, channels, height, width).
            labels: their classes, shape (n,).

        Raises:
            UserError: no images, other than one label for each, or scores of the network that are
                no classes' or not finite.
        """
        count = len(images)
        if not count:
            raise UserError("no calibration images")
        if labels is not None and labels.shape != (count,):
            raise UserError(f"{count:,} calibration images, but labels of shape {(*labels.shape,)}")
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        self._batches = torch.split(images[order], _BATCH)
        self._staged = StagedNetwork(model, layers, source, self._batches[0])
        self._labels = None if labels is None else torch.split(labels[order].long(), _BATCH)
        labelled = () if labels is None else ("accuracy_pct", "log_likelihood")
        self.metrics = ("fidelity", "agreement_pct", *labelled)
        self._expected: list[Tensor] = []
        for batch in self._batches:
            (scores,) = self._staged.scores([{}], batch)
            # One class has the probability 1, whatever becomes of the network.
            several = scores.ndim == 2 and scores.shape[1] > 1
            if not several or not bool(torch.isfinite(scores).all()):
                raise UserError(
                    "the network's scores of the calibration images must be finite numbers of "
                    "shape (images, classes), of two classes or more; theirs is "
                    f"{tuple(scores.shape)}"
                )
            self._expected.append(scores.double().log_softmax(1))
        self.original = self._judged([{}])[0].metrics

    @property
    def objective(self) -> str:
        """The metric to maximise: what labels say where there are some."""
        return "fidelity" if self._labels is None else "log_likelihood"

    def judge(self, model: nn.Module) -> dict[str, float]:
        """Return the metrics of a network that takes the same images.

        Args:
            model: such as a compressed network whose weights were changed since.

        Raises:
            UserError: it does not run on the images, or its scores are not finite.
        """
        batches = enumerate(self._batches)
        with evaluating(model), torch.no_grad():
            try:
                rows = [self._per_image(number, model(batch)) for number, batch in batches]
            except RuntimeError as error:
                raise UserError(one_line(error)) from error
        found = self._evaluation(torch.cat(rows, 1))
        if found.error:
            raise UserError(found.error)
        return found.metrics

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the metrics of each network, in order; one that fails has NaN and the reason."""
        together = _TOGETHER if self._staged.shares else 1
        for start in range(0, len(archs), together):
            yield from self._judged([arch.choices for arch in archs[start : start + together]])

    def _judged(self, choices: Sequence[Mapping[str, Choice]]) -> list[Evaluation]:
        try:
            return self._compared(choices)
        except (UserError, RuntimeError) as error:
            if len(choices) > 1:  # one of them fails
                return [self._judged([alone])[0] for alone in choices]
            return [self._failed(one_line(error))]

    def _compared(self, choices: Sequence[Mapping[str, Choice]]) -> list[Evaluation]:
        rows: list[list[Tensor]] = [[] for _ in choices]  # of each network, by batch
        running = list(range(len(choices)))
        seen = 0
        for number, batch in enumerate(self._batches):
            scores = self._staged.scores([choices[i] for i in running], batch)
            for i, found in zip(running, scores, strict=True):
                rows[i].append(self._per_image(number, found))
            before, seen = seen, seen + len(batch)
            quarter = sum(map(len, self._batches)) / 4
            if self.stop_below is not None and before < quarter <= seen:
                bound = self.stop_below
                running = [i for i in running if not self._hopeless(torch.cat(rows[i], 1), bound)]
                if not running:
                    break
        return [self._evaluation(torch.cat(found, 1)) for found in rows]

    def _per_image(self, number: int, scores: Tensor) -> Tensor:
        """Return the metrics of each image of a batch, shape (metrics, images), float64."""
        expected, found = self._expected[number], scores.double().log_softmax(1)
        top = found.argmax(1)
        values = [
            -(expected.exp() * (expected - found)).sum(1),
            100.0 * (top == expected.argmax(1)),
        ]
        if self._labels is not None:
            labels = self._labels[number]
            values += [100.0 * (top == labels), found.gather(1, labels[:, None])[:, 0]]
        return torch.stack([value.double() for value in values])

    def _hopeless(self, per_image: Tensor, bound: float) -> bool:
        values = per_image[self.metrics.index(self.objective)]
        error = float(values.std()) / len(values) ** 0.5
        return bool(values.mean() + _MARGIN * error < bound)

    def _evaluation(self, per_image: Tensor) -> Evaluation:
        means = per_image.mean(1)
        if not bool(torch.isfinite(means).all()):
            return self._failed("its scores are not finite numbers")
        return Evaluation(dict(zip(self.metrics, means.tolist(), strict=True)))

    def _failed(self, reason: str) -> Evaluation:
        return Evaluation(dict.fromkeys(self.metrics, float("nan")), reason)


def accuracy_pct(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images that a network tells right, in percent.

    Args:
        model: returns scores, shape (n, classes); run in the mode that it is in.
        images: as it takes them, shape (n, channels, height, width).
        labels: their classes, shape (n,).
    """
    with torch.no_grad():
        guesses = torch.cat([model(batch).argmax(1) for batch in torch.split(images, _BATCH)])
    return 100 * float((guesses == labels).double().mean())
