"""Leave a compressed network as it is."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from brpnas.lowrank.repair.job import Job, Repair

__all__ = ["Nothing"]


@dataclass(frozen=True)
class Nothing(Repair):
    """No repair."""

    needs_images: ClassVar[bool] = False

    def run(self, job: Job) -> nn.Module:
        """See `Repair.run`."""
        return copy.deepcopy(job.compressed)
