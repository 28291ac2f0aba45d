"""Train a compressed network to say what the original says, of images without labels.

The loss of a batch is the divergence of the classes' probabilities at a temperature T (Hinton et
al., 2015), and how far what the last layer sees is from what it sees in the original: of few
images, a few hundred numbers of each tell more than its classes (Wang and Wu, "Practical network
acceleration with tiny sets", CVPR 2023).

    T^2 KL(softmax(original / T) | softmax(compressed / T)) + w |compressed - original|^2
                                                                / |original|^2

Batch norm keeps its statistics; all parameters are trained, by Adam, with a rate that rises over
the first twentieth of the steps and falls to zero as a cosine does. How great it may get depends on
the network: short trainings try several. Images are moved and mirrored, by the same amount for both
networks, so that few of them last longer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.lowrank.repair.features import WithFeatures, last_layer
from brpnas.lowrank.repair.saved import Saved

__all__ = ["Distillation"]

_TINY = 1e-12  # features that are all zero have no size to compare with


@dataclass(frozen=True)
class Distillation:
    """Settings of a training.

    Attributes:
        steps: batches; the nearest number of whole epochs, at least one.
        batch: images of each.
        rates: greatest learning rates of Adam to try; of one, there is no trial.
        temperature: T, that scores are divided by.
        feature_weight: w, the weight of what the last layer sees.
        shift: images are moved by up to this share of their sides, the border mirrored.
        mirror: whether every second image is turned about its vertical axis.
        most_epochs: images are seen at most so often; then there are fewer steps.
    """

    steps: int = 1000
    batch: int = 64
    rates: tuple[float, ...] = (1e-3, 3e-4, 1e-4)
    temperature: float = 4.0
    feature_weight: float = 100.0
    shift: float = 0.125
    mirror: bool = True
    most_epochs: int = 60

    def length(self, images: int) -> int:
        """Return how many steps a training with so many images has."""
        each = self._epoch(images)
        return each * min(max(1, round(self.steps / each)), self.most_epochs)

    def _epoch(self, images: int) -> int:
        return max(1, images // self.batch)

    def train(
        self,
        original: nn.Module,
        start: nn.Module,
        images: Tensor,
        rate: float,
        steps: int,
        seed: int,
        saved: Saved,
        tell: Callable[[int], None],
    ) -> nn.Module:
        """Return what training makes of a network.

        Args:
            original: says what is right.
            start: the network, left as it is.
            images: shape (n, c, h, w).
            rate: the greatest learning rate.
            steps: of all; see `length`.
            seed: of the batches, and of what is done to the images.
            saved: where each epoch's end is kept, and where to continue.
            tell: called with the steps that are done.
        """
        teacher, student = _ready(original, False), _ready(start, True)
        parameters = [p for p in student.parameters() if p.is_floating_point()]
        adam = torch.optim.Adam(parameters, lr=rate)
        last = last_layer(teacher, images[:1]) if self.feature_weight else None
        ask, answer = WithFeatures(teacher, last), WithFeatures(student, last)
        each = self._epoch(len(images))
        for epoch in range(saved.load(parameters, adam), -(-steps // each)):
            random = torch.Generator().manual_seed(seed * 100_003 + epoch)
            order = torch.randperm(len(images), generator=random)
            for step in range(min(each, steps - epoch * each)):
                x = images[order[step * self.batch : (step + 1) * self.batch]]
                x = self._changed(x, random).contiguous(memory_format=torch.channels_last)
                done = epoch * each + step
                for group in adam.param_groups:
                    group["lr"] = rate * _rate((done + 0.5) / steps)
                with torch.no_grad():
                    wanted = ask(x)
                adam.zero_grad()
                torch.autograd.backward(self._loss(wanted, answer(x)))
                adam.step()
                tell(done + 1)
            saved.keep(epoch + 1, parameters, adam)
        trained = copy.deepcopy(start)
        with torch.no_grad():
            for mine, found in zip(trained.parameters(), student.parameters(), strict=True):
                mine.copy_(found)
        return trained

    def _changed(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Move and mirror images, each otherwise; both networks see them so."""
        height, width = x.shape[2:]
        if self.mirror:
            turned = torch.rand(len(x), generator=random) < 0.5
            x = torch.where(turned[:, None, None, None], x.flip(3), x)
        down, right = round(self.shift * height), round(self.shift * width)
        if not down and not right:
            return x
        x = F.pad(x, (right, right, down, down), "reflect")
        tops = torch.randint(2 * down + 1, (len(x), 1), generator=random)
        lefts = torch.randint(2 * right + 1, (len(x), 1), generator=random)
        rows = (tops + torch.arange(height))[:, None, :, None]
        columns = (lefts + torch.arange(width))[:, None, None, :]
        image = torch.arange(len(x))[:, None, None, None]
        channel = torch.arange(x.shape[1])[None, :, None, None]
        return x[image, channel, rows, columns]

    def _loss(
        self, wanted: tuple[Tensor, Tensor | None], given: tuple[Tensor, Tensor | None]
    ) -> Tensor:
        (scores, features), (own_scores, own_features) = wanted, given
        t = self.temperature
        logs = [(one / t).log_softmax(1) for one in (own_scores, scores)]
        loss = t * t * F.kl_div(logs[0], logs[1], reduction="batchmean", log_target=True)
        if features is None or own_features is None:
            return loss
        far = (own_features - features).square().sum() / features.square().sum().clamp_min(_TINY)
        return loss + self.feature_weight * far


def _ready(model: nn.Module, trained: bool) -> nn.Module:
    """Return a copy in evaluation mode, in the layout that convolutions are fastest in."""
    ready = copy.deepcopy(model).eval()
    for parameter in ready.parameters():
        parameter.requires_grad_(trained and parameter.is_floating_point())
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return ready


def _rate(done: float) -> float:
    """Return the learning rate's share of the greatest, when this share of all steps is done."""
    return min(1.0, 20 * done) * 0.5 * (1 + math.cos(math.pi * done))
