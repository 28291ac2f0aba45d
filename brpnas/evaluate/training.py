"""Train a network for real, several seeds side by side, and continue where a killed run stopped."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.evaluate.images import Images, Split

__all__ = ["Protocol", "accuracy_pct", "train"]

_SAVE_EVERY_S = 20.0
_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Protocol:
    """How every network is trained: SGD with Nesterov momentum and a cosine to zero.

    At the end, the batch-norm statistics are averaged over the training images once more.

    Attributes:
        epochs: passes over the training images.
        batch: images per step; the last, incomplete batch of an epoch is left out.
        learning_rate: at the first step.
        momentum: of SGD.
        weight_decay: of SGD, on every parameter.
        crop: each training image is shifted by up to this many pixels, padded with its mean.
        flip: half of the training images are mirrored.
        seeds: networks trained per architecture; its accuracy is their mean.
    """

    epochs: int = 12
    batch: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop: int = 4
    flip: bool = True
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise UserError(f"a batch must hold at least 2 images, not {self.batch}: batch-norm")


class _Pixels:
    """Normalised images as tensors, gathered into batches of several replicas."""

    def __init__(self, images: Images, like: Images) -> None:
        axes = (0, 1, 2)
        mean = like.x.mean(axes, dtype=np.float64) / 255
        std = like.x.std(axes, dtype=np.float64) / 255
        x = np.empty(images.x.shape, np.float32)  # (n, size, size, channels)
        for start in range(0, len(x), _EVALUATION_BATCH):  # in parts: float64 takes much memory
            part = slice(start, start + _EVALUATION_BATCH)
            x[part] = (images.x[part] / 255 - mean) / np.maximum(std, 1e-6)
        self.x = torch.from_numpy(x)
        self.y = torch.from_numpy(images.y)

    def batch(self, rows: Tensor, shifts: Tensor, flips: Tensor, crop: int) -> Tensor:
        """Gather images (batch, replicas * channels, size, size) in channels-last order.

        Args:
            rows: which images, shape (batch, replicas).
            shifts: vertical and horizontal, from 0 to 2 * crop, shape (2, batch, replicas).
            flips: whether to mirror, shape (batch, replicas).
            crop: pixels that ``shifts`` counts as no shift.
        """
        size = self.x.shape[1]
        place = torch.arange(size)
        down = shifts[0, ..., None] - crop + place  # (batch, replicas, size)
        right = shifts[1, ..., None] - crop + torch.where(flips[..., None], size - 1 - place, place)
        inside = ((down >= 0) & (down < size))[..., None]
        inside = inside & ((right >= 0) & (right < size))[..., None, :]
        x = self.x[
            rows[..., None, None],
            down.clamp(0, size - 1)[..., None],
            right.clamp(0, size - 1)[..., None, :],
        ]  # (batch, replicas, size, size, channels)
        x = x * inside[..., None]  # normalised images: zero is the mean
        return x.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2)


def train(
    network: nn.Module, split: Split, protocol: Protocol, seed: int, checkpoint: Path | None = None
) -> None:
    """Train a network of ``protocol.seeds`` replicas in place.

    Each replica sees the images in its own order with its own crops and flips; the gradient of
    one does not touch the others, so the result is that of training them one after the other.

    Args:
        network: takes (batch, replicas * channels, size, size), returns (batch, replicas,
            classes), or (batch, classes) for one replica.
        split: its training part is learnt.
        protocol: the fixed recipe.
        seed: of order, crops and flips.
        checkpoint: file to continue from and to save to; the caller removes it when the result
            is safe.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    pixels = _Pixels(split.train, like=split.train)
    batch = min(protocol.batch, len(split.train))
    steps = len(split.train) // batch
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=protocol.learning_rate,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        nesterov=protocol.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, protocol.epochs * steps)
    generator = torch.Generator().manual_seed(seed)
    state = _TrainingState(network, optimiser, schedule, generator)
    done = state.load(checkpoint) if checkpoint else 0
    saved, saves = time.monotonic(), done > 0  # a training of seconds is not worth a checkpoint
    network.train()
    for epoch in range(done, protocol.epochs):
        for rows, shifts, flips in _epoch(len(split.train), batch, steps, protocol, generator):
            scores = network(pixels.batch(rows, shifts, flips, protocol.crop))
            loss = F.cross_entropy(scores.reshape(rows.numel(), -1), pixels.y[rows].flatten())
            optimiser.zero_grad()
            # The mean over replicas would divide each one's gradient by their number.
            torch.autograd.backward(loss * protocol.seeds)
            optimiser.step()
            schedule.step()
        if not torch.isfinite(loss):
            raise FloatingPointError("the training diverged: the learning rate is too high")
        last = epoch + 1 == protocol.epochs and saves
        if checkpoint and (last or time.monotonic() - saved > _SAVE_EVERY_S):
            state.save(checkpoint, epoch + 1)
            saved, saves = time.monotonic(), True
    _settle_norms(network, pixels, protocol.seeds)
    network.eval()


def _settle_norms(network: nn.Module, pixels: _Pixels, replicas: int) -> None:
    """Replace each batch-norm's moving statistics by its average over the training images.

    After a short training the moving averages still lag behind the weights, which would add more
    luck to the accuracy than the weights themselves.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    with torch.no_grad():
        for x in torch.split(pixels.x, _EVALUATION_BATCH):
            # All parts weigh the same in the average, so a small last part is left out.
            if len(x) > _EVALUATION_BATCH // 2 or len(x) == len(pixels.x):
                network(_for_each(x, replicas))
    for norm in norms:
        norm.momentum = 0.1


def _for_each(x: Tensor, replicas: int) -> Tensor:
    """Show the same images (batch, size, size, channels) to every replica."""
    shown = x.permute(0, 3, 1, 2).repeat(1, replicas, 1, 1)
    return shown.contiguous(memory_format=torch.channels_last)


def _epoch(
    images: int, batch: int, steps: int, protocol: Protocol, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    orders = [torch.randperm(images, generator=generator) for _ in range(protocol.seeds)]
    order = torch.stack(orders)  # (replicas, images)
    size = (batch, protocol.seeds)
    for rows in torch.split(order.T[: steps * batch], batch):
        shifts = torch.randint(2 * protocol.crop + 1, (2, *size), generator=generator)
        mirrored = torch.rand(size, generator=generator) < 0.5
        yield rows, shifts, mirrored & protocol.flip


def accuracy_pct(network: nn.Module, images: Images, like: Images) -> NDArray[np.float64]:
    """Share of images that each replica classifies rightly, in percent, shape (replicas,).

    Args:
        network: as trained by `train`.
        images: what to classify.
        like: the training images, whose mean and deviation normalise.
    """
    pixels = _Pixels(images, like)
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    replicas = stem.in_channels // images.x.shape[3]
    right = torch.zeros(replicas, dtype=torch.float64)
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(images), _EVALUATION_BATCH):
            part = slice(start, start + _EVALUATION_BATCH)
            x = _for_each(pixels.x[part], replicas)
            guess = network(x).reshape(len(x), replicas, -1).argmax(2)
            right += (guess == pixels.y[part, None]).sum(0)
    shares: NDArray[np.float64] = (100.0 * right / len(images)).numpy()
    return shares


@dataclass(frozen=True)
class _TrainingState:
    """All that changes while training, as one file."""

    network: nn.Module
    optimiser: torch.optim.SGD
    schedule: torch.optim.lr_scheduler.CosineAnnealingLR
    generator: torch.Generator

    def save(self, path: Path, epochs_done: int) -> None:
        partial = path.with_suffix(".partial")
        torch.save({"epochs_done": epochs_done, **self._state()}, partial)
        partial.replace(path)

    def load(self, path: Path) -> int:
        """Return the number of epochs that are done; 0 where there is no usable checkpoint."""
        if not path.exists():
            return 0
        initial = copy.deepcopy(self._state())
        try:
            state = torch.load(path, weights_only=True)
            self._restore(state)
            return int(state["epochs_done"])
        except (
            RuntimeError, EOFError, OSError, LookupError, TypeError, ValueError, AttributeError,
            pickle.UnpicklingError,
        ):  # fmt: skip
            # Cut off by a full disk, or of another protocol: training again costs only time. What
            # was read before the error is undone, or the result would depend on it.
            self._restore(initial)
            return 0

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
