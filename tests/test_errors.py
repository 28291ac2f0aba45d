from __future__ import annotations

import pytest

from brpnas.errors import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\n  two", "one two"),
        ("\x1b[96mstep 1/3\x1b[0m", "step 1/3"),
        ("x" * 400, "x" * 297 + "..."),
        (ValueError(), "ValueError"),
        (ValueError("why"), "why"),
    ],
)
def test_texts_from_outside_become_one_line(text: object, line: str) -> None:
    assert one_line(text) == line
