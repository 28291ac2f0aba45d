"""The columns of other devices that a new one is learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from brpnas.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from brpnas.datasets import Table

__all__ = ["source_columns"]


def source_columns(
    others: Table, exclude: Sequence[str], column: str = ""
) -> dict[str, NDArray[np.float64]]:
    """Return the columns to learn from; NaN where nothing or an empty network was measured.

    Args:
        others: the table of other devices.
        exclude: names to leave out, with ``*`` and ``?``.
        column: of the new device, left out too.

    Raises:
        UserError: a name to leave out that no column has, or too few columns.
    """
    import numpy as np

    from brpnas.costs import COST_PREFIXES
    from brpnas.predictors.transfer import FEWEST_SOURCES

    names = [name for name in others.metrics if name.startswith(COST_PREFIXES)]
    for glob in exclude:
        if not any(fnmatchcase(name, glob) for name in names):
            raise UserError(
                f"--exclude {glob}: no latency or energy column of {others.name} is called so; "
                f"they are {', '.join(names) or '(none)'}"
            )
    sources = {
        name: np.where(others.judged(name).rows, others.metric(name), np.nan)
        for name in names
        if name != column and not any(fnmatchcase(name, glob) for glob in exclude)
    }
    if len(sources) < FEWEST_SOURCES:
        raise UserError(
            f"{others.name}: {len(sources)} latency or energy columns to learn from "
            f"({', '.join(sources) or 'none'}); --transfer needs at least "
            f"{FEWEST_SOURCES}, better 5 or more"
        )
    return sources
