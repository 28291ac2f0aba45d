"""What tells two models apart without making them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import brpnas

__all__ = ["digest"]


def digest(*parts: Any) -> str:  # noqa: ANN401 - what JSON can hold
    """Return the SHA-256 of parts and this program's version, in hexadecimal.

    Args:
        parts: what JSON can hold.
    """
    text = json.dumps([brpnas.__version__, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
