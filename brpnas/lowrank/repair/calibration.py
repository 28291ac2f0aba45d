"""Repair with calibration images, which need no labels: least squares, then distillation."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor, nn

from brpnas.lowrank.cache import content_hash, model_hash
from brpnas.lowrank.repair.distil import Distillation
from brpnas.lowrank.repair.job import Job, Repair, distance, outputs
from brpnas.lowrank.repair.lsq import LeastSquares
from brpnas.lowrank.repair.saved import Saved

__all__ = ["Calibration", "distilled"]

_log = logging.getLogger(__name__)


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
    trained = then.train(job.original, start, images, job.seed, Saved(job.folder, key), job.tell)
    tried["distillation"] = trained
    distances["distillation"] = distance(wanted, outputs(trained, held))
    best = min(distances, key=distances.__getitem__)
    said = ", ".join(f"{how}: {found:.4f}" for how, found in distances.items())
    _log.info("%s is taken (KL of held-out images %s)", best, said)
    return copy.deepcopy(tried[best])
