"""Repair with calibration images, which need no labels: least squares, then distillation."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from brpnas.lowrank.cache import Cache, content_hash, model_hash
from brpnas.lowrank.repair.distil import Distillation
from brpnas.lowrank.repair.job import Job, Repair, distance, outputs
from brpnas.lowrank.repair.lsq import LeastSquares
from brpnas.lowrank.repair.saved import Saved

__all__ = ["Calibration", "distilled"]

_log = logging.getLogger(__name__)
_TRIAL = 10
"""A trial has one of so many steps."""
_NEAR = 1.05
"""Of the best trial's distance: a greater rate may be as far, and is taken."""


@dataclass(frozen=True)
class Calibration(Repair):
    """Least squares and distillation on calibration images.

    Attributes:
        least_squares: that training starts from.
        distillation: the training.
    """

    needs_images: ClassVar[bool] = True

    least_squares: LeastSquares = field(default_factory=LeastSquares)
    distillation: Distillation = field(default_factory=Distillation)

    def run(self, job: Job) -> nn.Module:
        """See `Repair.run`; of the network before, after one and after both, the nearest."""
        images, held = job.split()
        return distilled(job, images, held, self.least_squares, self.distillation)


def distilled(
    job: Job, images: Tensor, held: Tensor, first: LeastSquares, then: Distillation
) -> nn.Module:
    """Return the nearest to the original: the network as it was, after one step, or after both.

    The second step begins with the nearer of the first two.

    Args:
        job: with the networks.
        images: to repair with.
        held: to judge by.
        first: step.
        then: the second step.
    """
    states = (model_hash(model.state_dict()) for model in (job.original, job.compressed))
    choices = (f"{name} {choice}" for name, choice in job.layers.items())
    key = content_hash(*states, *choices, images, held, str((first, then, job.seed)))
    wanted = outputs(job.original, held)
    tried = {"as it was": job.compressed}
    tried["least squares"] = first.fit(replace(job, progress=None), images)
    distances = {how: distance(wanted, outputs(model, held)) for how, model in tried.items()}
    # Of few images, least squares may lose what the next ones need; then it is not built upon.
    start = tried[min(distances, key=distances.__getitem__)]
    trained = _trained(job, start, images, held, then, key)
    tried["distillation"] = trained
    distances["distillation"] = distance(wanted, outputs(trained, held))
    best = min(distances, key=distances.__getitem__)
    said = ", ".join(f"{how}: {found:.4f}" for how, found in distances.items())
    _log.info("%s is taken (KL of held-out images %s)", best, said)
    return copy.deepcopy(tried[best])


def _trained(
    job: Job, start: nn.Module, images: Tensor, held: Tensor, way: Distillation, key: str
) -> nn.Module:
    """Train with the greatest rate whose trial comes near to the best trial.

    Short trainings favour small rates, so the best trial alone does not decide.
    """
    steps = way.length(len(images))
    short = max(1, steps // _TRIAL)
    rates = way.rates if len(way.rates) > 1 else ()
    total = short * len(rates) + steps

    def train(rate: float, steps: int, before: int, saved: Saved) -> nn.Module:
        def tell(done: int) -> None:
            job.tell(before + done, total)

        return way.train(job.original, start, images, rate, steps, job.seed, saved, tell)

    def trial(place: int) -> float:
        trained = train(rates[place], short, place * short, Saved(None, ""))
        return distance(outputs(job.original, held), outputs(trained, held))

    rate = way.rates[0]
    if rates:
        far = [_kept(job, f"{key} {one}", partial(trial, i)) for i, one in enumerate(rates)]
        near = [one for one, found in zip(rates, far, strict=True) if found <= _NEAR * min(far)]
        rate = max(near) if math.isfinite(min(far)) else min(rates)
        said = ", ".join(f"{one:g}: {found:.4f}" for one, found in zip(rates, far, strict=True))
        _log.info("rate %g is taken (KL of held-out images after trials %s)", rate, said)
    saved = Saved(job.folder, content_hash(key, str(rate)))
    return train(rate, steps, total - steps, saved)


def _kept(job: Job, key: str, find: Callable[[], float]) -> float:
    """Return what is found, or was before a kill."""
    if job.folder is None:
        return find()
    made = Cache(job.folder).get(
        content_hash(key), lambda: {"found": torch.tensor(find()).double()}
    )
    return float(made["found"])
