"""Networks in evaluation mode for a while, and then as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

__all__ = ["evaluating"]


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a network in evaluation mode, then give each of its modules its own mode back.

    Modules are set one by one instead of by ``eval()``, which some refuse (exported programs) and
    others take as an order to change their weights.
    """
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True
