"""The TFLite schema's tables, which come with the extra ``measure``."""

from __future__ import annotations

import importlib
from typing import Any

from brpnas.errors import UserError, extra_hint

__all__ = ["IDENTIFIER", "VERSION", "builder", "names", "tables"]

IDENTIFIER = b"TFL3"
"""The four bytes at place 4 of every TFLite file."""
VERSION = 3
"""Of the schema; the one version that there is."""


def tables() -> Any:  # noqa: ANN401 - a generated module without types
    """Return the module that holds the schema's tables.

    Raises:
        UserError: the extra is missing.
    """
    return _module("ai_edge_litert.schema_py_generated")


def builder(size: int) -> Any:  # noqa: ANN401 - from a module without types
    """Return an empty flatbuffer builder with room for ``size`` bytes.

    Raises:
        UserError: the extra is missing.
    """
    return _module("flatbuffers").Builder(size)


def names(enumeration: str) -> dict[int, str]:
    """Return the names of an enumeration's values, such as of ``BuiltinOperator``."""
    members = vars(getattr(tables(), enumeration))
    return {value: name for name, value in members.items() if isinstance(value, int)}


def _module(name: str) -> Any:  # noqa: ANN401 - see above
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"TFLite models need the package '{error.name}': {extra_hint('measure')}"
        ) from error
