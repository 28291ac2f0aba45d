"""Names that help texts list; the resolver, which knows what they stand for, is slow to import."""

from __future__ import annotations

__all__ = ["SPACE_NAMES"]

SPACE_NAMES = ("nasbench101", "nasbench201")
