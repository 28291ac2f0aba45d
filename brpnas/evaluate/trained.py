"""Metrics by really training each network: on the user's images, or to build a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save
from torch import nn

from brpnas.errors import DAMAGE, UserError
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.evaluate.images import Split
from brpnas.evaluate.training import Protocol, accuracy_pct, train
from brpnas.executors import Executor
from brpnas.files import replace_file
from brpnas.reproducible import reproducible
from brpnas.spaces import Architecture, NetworkShape, Space

__all__ = ["Training", "TrainingEvaluator", "Unwritten"]

A = TypeVar("A", bound=Architecture)


@dataclass(frozen=True)
class Unwritten:
    """What a training ends with on a full disk, or without its images.

    Attributes:
        reason: names the file.
    """

    reason: str


@dataclass(frozen=True)
class Training(Generic[A]):
    """Everything that decides what training a network gives, and where its results are kept.

    Attributes:
        space: builds the networks.
        shape: their widths and depths; classes and image size are those of the images, and
            replicas are the protocol's seeds.
        protocol: the recipe.
        load: gives the images; called in the process that trains.
        data: names the images' content, so that results of other images are not taken for these.
        seed: of initial weights, order, crops and flips.
        folder: one result file per network; a result that is there is not computed again.
        keep_weights: whether to keep the trained weights in the folder too.
    """

    space: Space[A]
    shape: NetworkShape
    protocol: Protocol
    load: Callable[[], Split]
    data: str
    seed: int
    folder: Path
    keep_weights: bool = True

    def __call__(self, arch: A) -> dict[str, float] | Unwritten:
        """Train one network on one thread, so that the result is the same in any process.

        Returns:
            The accuracies in percent, as named by `metrics`, and ``params_m`` of one replica; or
            why files cannot be read or written, which is no fault of the network's.
        """
        try:
            return self._kept_or_trained(arch)
        except OSError as error:
            return Unwritten(f"{error.filename or self.folder}: {error.strerror or error}")

    def _kept_or_trained(self, arch: A) -> dict[str, float]:
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = self.folder / self._digest(arch)
        result = stem.with_suffix(".json")
        known = _read_metrics(result)
        if known is not None:
            return known
        with reproducible():
            metrics = self._train(arch, stem)
        content = json.dumps({"arch": str(arch), "metrics": metrics}, indent=1)
        replace_file(result, content.encode())
        stem.with_suffix(".ckpt").unlink(missing_ok=True)
        return metrics

    def metrics(self, *, test: bool) -> tuple[str, ...]:
        """Names of the metrics, given whether there are test images."""
        parts = ("valid", "test") if test else ("valid",)
        seeds = range(self.protocol.seeds) if self.protocol.seeds > 1 else ()
        return (
            *(f"{part}_acc_pct" for part in parts),
            *(f"{part}_acc_pct_seed{seed}" for part in parts for seed in seeds),
            "params_m",
        )

    def _train(self, arch: A, stem: Path) -> dict[str, float]:
        split = self.load()
        network = self._build(arch, split)
        train(network, split, self.protocol, self.seed, stem.with_suffix(".ckpt"))
        metrics: dict[str, float] = {}
        for part, images in (("valid", split.valid), ("test", split.test)):
            if images is not None:
                accuracies = accuracy_pct(network, images, like=split.train)
                metrics[f"{part}_acc_pct"] = float(accuracies.mean())
                if len(accuracies) > 1:
                    metrics |= {
                        f"{part}_acc_pct_seed{seed}": float(accuracy)
                        for seed, accuracy in enumerate(accuracies)
                    }
        weights = sum(parameter.numel() for parameter in network.parameters())
        metrics["params_m"] = weights / self.protocol.seeds / 1e6
        if self.keep_weights:
            state = {name: value.contiguous() for name, value in network.state_dict().items()}
            weights_file = stem.with_suffix(".safetensors")
            replace_file(weights_file, save(state, {"arch": str(arch)}))
        return metrics

    def _build(self, arch: A, split: Split) -> nn.Module:
        shape = NetworkShape(
            channels=self.shape.channels,
            cells_per_stage=self.shape.cells_per_stage,
            classes=split.classes,
            input_size=split.train.x.shape[1],
            input_channels=split.train.x.shape[3],
            replicas=self.protocol.seeds,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.space.build(arch, shape)

    def _digest(self, arch: A) -> str:
        recipe = (str(arch), self.data, self.seed, asdict(self.protocol), asdict(self.shape))
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def _read_metrics(path: Path) -> dict[str, float] | None:
    """Return a result that was kept; None if there is none, or one that a crash damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return {str(name): float(value) for name, value in content["metrics"].items()}
    except (OSError, *DAMAGE):
        return None


class TrainingEvaluator(Evaluator[A]):
    """Trains each network that is asked for, several at once if the executor has workers.

    Args:
        training: what to do with a network.
        executor: where to do it.
        test: whether there are test images, so that ``test_acc_pct`` is a metric.
    """

    def __init__(self, training: Training[A], executor: Executor, *, test: bool) -> None:
        self.training = training
        self.executor = executor
        self.metrics = training.metrics(test=test)

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the accuracies of each network, in order; a training that fails gives NaN.

        Raises:
            UserError: files cannot be read or written; what was trained before is kept.
        """
        for outcome in self.executor.run(self.training, archs):
            if isinstance(outcome.value, Unwritten):
                raise UserError(outcome.value.reason)
            if outcome.value is None:
                missing = dict.fromkeys(self.metrics, float("nan"))
                yield Evaluation(missing, outcome.error)
            else:
                yield Evaluation(outcome.value)
