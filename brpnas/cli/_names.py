"""Names that help texts list; the resolver, which knows what they stand for, is slow to import."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["PREDICTOR_NAMES", "SPACE_NAMES", "either"]

PREDICTOR_NAMES = ("ensemble", "gcn", "gp", "trees", "mlp", "layerwise", "flops", "eagle")
SPACE_NAMES = ("nasbench101", "nasbench201")


def either(names: Sequence[str]) -> str:
    """Return names as a text: "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
