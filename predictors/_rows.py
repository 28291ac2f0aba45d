"""Which networks are learnt from, and which are held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["shuffled"]


def shuffled(n: int, seed: int) -> NDArray[np.int64]:
    """Return n rows in random order, the same for every kind of predictor.

    Each kind holds out the last of them: what one was not shown others have not seen either.
    """
    return np.random.default_rng(seed).permutation(n)
