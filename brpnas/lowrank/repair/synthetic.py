"""Repair without any images: they are made from noise, and taken in the place of calibration's.

Images are drawn from noise and changed by Adam until what batch norm sees of them has the means and
deviations that it kept from training, as in ZeroQ (Cai et al., 2020, equation 3):

    sum over batch norms of the mean over channels of ((m - mean)^2 + (s - deviation)^2) / var
    + class_weight * cross-entropy with classes that were drawn evenly (Yin et al., 2020)

m and s being those of a batch of images. The second term spreads them over the classes.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank.cache import Cache, content_hash, model_hash
from brpnas.lowrank.repair.bn import NormsRepair, norms
from brpnas.lowrank.repair.calibration import distilled
from brpnas.lowrank.repair.distil import Distillation
from brpnas.lowrank.repair.job import LEAST_IMAGES, Job
from brpnas.lowrank.repair.lsq import LeastSquares

__all__ = ["Dream", "Synthetic"]


@dataclass(frozen=True)
class Dream:
    """Settings of images made from noise.

    Attributes:
        images: of them; batch norm's statistics are those of a batch.
        batch: that are made together.
        steps: of Adam.
        rate: of its learning, in deviations of a pixel.
        class_weight: of the classes in the loss.
    """

    images: int = 1024
    batch: int = 128
    steps: int = 100
    rate: float = 0.1
    class_weight: float = 0.1

    def make(self, job: Job) -> Tensor:
        """Return images, shape (n, c, h, w), within the frame's bounds where there are any.

        Raises:
            UserError: a network without batch norm, or without a known shape of its images.
        """
        norms(job.original)
        if job.frame is None:
            raise UserError("repair 'synthetic' needs to know the shape of the network's images")
        shape = job.frame.shape
        # Resume: a batch that was made is on disk.
        cache = None if job.folder is None else Cache(job.folder)
        state = model_hash(job.original.state_dict())
        made = []
        batches = max(1, self.images // self.batch)
        for i in range(batches):

            def tell(step: int, before: int = i * self.steps) -> None:
                job.tell(before + step, batches * self.steps)

            def make(i: int = i, tell: Callable[[int], None] = tell) -> dict[str, Tensor]:
                return {"x": self._batch(job, i, tell)}

            bounds = None if job.frame.bounds is None else job.frame.bounds.tolist()
            key = content_hash("synthetic", state, str((self, shape, bounds, job.seed, i)))
            made.append((make() if cache is None else cache.get(key, make))["x"])
        return torch.cat(made)

    def _batch(self, job: Job, number: int, tell: Callable[[int], None]) -> Tensor:
        model = copy.deepcopy(job.original).eval().requires_grad_(False)
        random = torch.Generator().manual_seed(job.seed * 100_003 + number)
        assert job.frame is not None  # noqa: S101 - for the type checker
        x = torch.randn(self.batch, *job.frame.shape, generator=random)
        low = high = None
        if job.frame.bounds is not None:
            low, high = job.frame.bounds[:, :, None, None]
        x.requires_grad_()
        adam = torch.optim.Adam([x], lr=self.rate)
        losses: list[Tensor] = []

        def note(layer: Any, args: Any) -> None:  # noqa: ANN401 - torch's signature
            seen = args[0].transpose(0, 1).flatten(1)  # (channels, positions of all images)
            deviation = (layer.running_var + layer.eps).sqrt()
            far = (seen.mean(1) - layer.running_mean) / deviation
            wide = (seen.var(1) + layer.eps).sqrt() / deviation - 1
            losses.append((far.square() + wide.square()).mean())

        with contextlib.ExitStack() as hooks:
            for layer in norms(model):
                hooks.callback(layer.register_forward_pre_hook(note).remove)
            classes = None
            for step in range(self.steps):
                losses.clear()
                scores = model(x)
                if classes is None:
                    classes = torch.arange(self.batch) % scores.shape[1]
                loss = torch.stack(losses).sum()
                loss = loss + self.class_weight * F.cross_entropy(scores, classes)
                adam.zero_grad()
                torch.autograd.backward(loss)
                adam.step()
                if low is not None:
                    with torch.no_grad():
                        x.clamp_(low, high)
                tell(step + 1)
        return x.detach()


@dataclass(frozen=True)
class Synthetic(NormsRepair):
    """Least squares and distillation on images made from noise.

    Attributes:
        dream: the images.
        least_squares: that training starts from.
        distillation: the training.
    """

    needs_images: ClassVar[bool] = False

    dream: Dream = field(default_factory=Dream)
    least_squares: LeastSquares = field(default_factory=LeastSquares)
    distillation: Distillation = field(default_factory=Distillation)

    def run(self, job: Job) -> nn.Module:
        """See `Repair.run`; calibration images, where there are some, are what it is judged by."""
        images, held = replace(job, images=self.dream.make(job)).split()
        if job.images is not None and len(job.images) >= LEAST_IMAGES:
            held = job.split()[1]
        return distilled(job, images, held, self.least_squares, self.distillation)
