"""Errors that are meant for the user: one line that says what is wrong and what is accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["DAMAGE", "UserError", "extra_hint", "one_line", "unknown_name"]

DAMAGE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What code raises that is given other kinds, shapes or values than it expects, by a damaged file.

To be caught only where a file has been read as far as its format can be checked.
"""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class UserError(Exception):
    """Something the user can put right: the message names the file or option and the choices.

    The command line prints the message without a traceback and exits with status 2.
    """


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """Make the error for a mistyped name.

    Args:
        kind: what the name stands for, such as ``"strategy"`` or ``"column of table.parquet"``.
        name: the name as the user wrote it.
        choices: the names that exist.

    Returns:
        An error that suggests the nearest choice, if there is one, and lists all of them.
    """
    known = list(choices)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UserError(f"unknown {kind} '{name}'.{hint} Choices: {', '.join(known) or '(none)'}")


def extra_hint(extra: str) -> str:
    """Return how to install what belongs to an extra of this package."""
    return f"install brpnas with its extra '{extra}' (in brpnas's folder: pip install '.[{extra}]')"


def one_line(text: object, limit: int = 300) -> str:
    """Return a text from outside, or an exception's, as one line of bounded length.

    An exception without a text is called by its type. Colours for terminals are left out.
    """
    line = " ".join(_COLOURS.sub("", str(text)).split())
    if not line and isinstance(text, BaseException):
        line = type(text).__name__
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
