from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest


class Page(HTMLParser):
    """Tags, cells of table rows, and all text of a page; minus signs are those of a keyboard."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._cell = False
        self.feed(text)

    @property
    def links(self) -> list[str]:
        """All that the page would load or lead to."""
        return [
            str(value)
            for _, attributes in self.tags
            for name, value in attributes.items()
            if name in ("src", "href")
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True
        elif tag == "br" and self._cell:
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        data = data.replace("\N{MINUS SIGN}", "-")
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data


@pytest.fixture
def read_page() -> Callable[[Path], Page]:
    """Parse the page in a file."""
    return lambda path: Page(path.read_text(encoding="utf-8"))
