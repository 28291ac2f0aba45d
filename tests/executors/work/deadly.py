"""A network for workers to die of; apart, for torch is slow to import."""

from __future__ import annotations

import os

from torch import Tensor, nn


class Deadly(nn.Module):
    """A network that ends a process other than the one it was made in, if it was changed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.then = nn.Linear(4, 4), nn.Linear(4, 3)
        self.home = os.getpid()

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.isnan().any()):  # what looks at its data cannot be flattened, and runs as it is
            return x
        found: Tensor = self.then(self.first(x))
        if os.getpid() != self.home and not isinstance(self.then, nn.Linear):
            os._exit(9)
        return found
