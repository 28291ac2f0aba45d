"""Estimate the statistics of batch norm again, where that helps.

What the layers of a compressed network return has other means and variances than batch norm kept
from training. Those of calibration images are nearer, but of fewer images: strong compression is
made good in part, mild compression is made worse. So statistics are mixed,

    kept + share (found - kept),

and the share is the one of a few, 0 among them, for which the network is nearest to the original
on images that were held out.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from brpnas.errors import UserError
from brpnas.lowrank.repair.job import BATCH, Job, Repair, distance, outputs

__all__ = ["BatchNorm", "NormsRepair", "norms"]

_log = logging.getLogger(__name__)
Statistics = list[tuple[Tensor, Tensor]]


class NormsRepair(Repair):
    """A repair that works with the statistics of batch norm."""

    def check(self, original: nn.Module, images: int) -> None:
        """See `Repair.check`; batch norm has to be there."""
        super().check(original, images)
        norms(original)


@dataclass(frozen=True)
class BatchNorm(NormsRepair):
    """New statistics of batch norm.

    Attributes:
        shares: of the way from the old statistics to the new ones that are tried.
    """

    needs_images: ClassVar[bool] = True

    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def run(self, job: Job) -> nn.Module:
        """See `Repair.run`."""
        images, held = job.split()
        repaired = copy.deepcopy(job.compressed)
        layers = norms(repaired)
        kept = _statistics(layers)
        wanted = outputs(job.original, held)
        found = _estimated(repaired, images)
        distances = []
        for done, share in enumerate(self.shares, 1):
            _set(layers, kept, found, share)
            distances.append(distance(wanted, outputs(repaired, held)))
            job.tell(done, len(self.shares))
        best = self.shares[distances.index(min(distances))]
        _set(layers, kept, found, best)
        tried = ", ".join(f"{s:g}: {d:.4f}" for s, d in zip(self.shares, distances, strict=True))
        _log.info("batch norm: %g of the new statistics taken (KL by share %s)", best, tried)
        return repaired


def norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a network that keep statistics.

    Raises:
        UserError: there are none.
    """
    found = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not found:
        raise UserError(
            "the network has no batch norm with statistics, which this repair works with; "
            "accepted for it: none, lsq, calibration"
        )
    return found


def _estimated(model: nn.Module, images: Tensor) -> Statistics:
    """Return what batch norm sees of images: the mean of the statistics of their batches."""
    seeing = copy.deepcopy(model).eval()
    layers = norms(seeing)
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
        layer.train()
    with torch.no_grad():
        for x in torch.split(images, BATCH):
            if len(x) == BATCH or len(images) < BATCH:  # a small one would count as much
                seeing(x)
    return _statistics(layers)


def _statistics(layers: list[_BatchNorm]) -> Statistics:
    return [
        (layer.running_mean.clone(), layer.running_var.clone())
        for layer in layers
        if layer.running_mean is not None and layer.running_var is not None
    ]


def _set(layers: list[_BatchNorm], old: Statistics, new: Statistics, share: float) -> None:
    for layer, kept, found in zip(layers, old, new, strict=True):
        for here, a, b in zip((layer.running_mean, layer.running_var), kept, found, strict=True):
            assert here is not None  # noqa: S101 - for the type checker
            here.copy_(a.lerp(b, share))
