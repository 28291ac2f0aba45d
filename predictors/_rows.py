"""Which networks are learnt from, and which are held out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["drawn", "shuffled"]


def shuffled(n: int, seed: int) -> NDArray[np.int64]:
    """Return n rows in random order, the same for graph network and Gaussian process.

    Each holds out the last of them: what one was not shown the other has not seen either.
    """
    return np.random.default_rng(seed).permutation(n)


def drawn(n: int, share: float) -> tuple[Tensor, Tensor]:
    """Draw a share of n rows to hold out, by torch's random state; return them and the others.

    One row at least is left to learn from.
    """
    held_out, kept = torch.randperm(n).tensor_split([min(round(n * share), n - 1)])
    return held_out, kept
