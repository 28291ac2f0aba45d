"""Values on their way out: as JSON can hold them, and as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["counted", "finite", "readable"]


def finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value with null in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def readable(number: float | None) -> str:
    """Return a number as people read it; a dash where it is missing."""
    if number is None or math.isnan(number):
        return "-"
    if isinstance(number, int):
        return f"{number:,}"
    return f"{number:,.4g}" if abs(number) < 1000 else f"{number:,.0f}"


def counted(number: int, what: str) -> str:
    """Return a number of things as people read it: "1 network", "5,259 networks"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
