"""Interactive plots: plain plotly figures in a page, and the scripts that such a page runs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from brpnas.values import finite, readable

__all__ = ["Network", "Plot", "axis", "hover", "line", "page_scripts", "plain", "points"]

# As in the PNG files; the page has light and dark colours, which its script puts in.
_MARKERS = ("circle", "triangle-up", "square", "diamond", "triangle-down", "cross")
_TEXT = "var(--text)"
# So that phones show them: letters of an axis' title; letters and lines of a name beside a point.
_TITLE, _WIDTH, _LINES = 38, 40, 8


@dataclass(frozen=True)
class Network:
    """What a page shows of a network when a point or a row is opened.

    Attributes:
        key: by which points and rows name it, on this page.
        title: in a few words.
        text: the network, to copy.
        figures: what is known of it, each with its name.
        row: in the trace or table, from 0.
        drawing: its cell as a picture.
        choices: what is in the place of each layer that a version replaces, in order.
        command: that takes it out.
    """

    key: str
    title: str
    text: str
    figures: Sequence[tuple[str, object]]
    row: int = 0
    drawing: Markup | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot of a page.

    Attributes:
        title: above it.
        data: plotly's traces. A point's ``customdata`` is the key of the network that it opens.
        layout: what differs from the page's layout.
        note: below it.
        png: the file in the run folder that has it too, if one does.
    """

    title: str
    data: list[dict[str, Any]]
    layout: Mapping[str, Any]
    note: str = ""
    png: str = ""

    @property
    def figure(self) -> dict[str, Any]:
        """The figure as JSON can hold it; a missing number is null, and not drawn."""
        return dict(finite({"data": self.data, "layout": self.layout}))


def points(
    name: str,
    place: int,
    x: ArrayLike,
    y: ArrayLike,
    texts: Sequence[str],
    keys: Sequence[str | None],
    hollow: ArrayLike = False,
) -> dict[str, Any]:
    """Return a trace of points that name their networks and open them.

    Args:
        name: in the legend.
        place: among the traces of the plot, from 0: colour and marker.
        x: shape (n,).
        y: shape (n,).
        texts: beside each point, by ``hover``.
        keys: of the networks that the page shows; None of the others.
        hollow: whether a point is, shape (n,), or for all.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    colour = f"var(--plot-{place % len(_MARKERS)})"
    empty = np.broadcast_to(hollow, x.shape)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(name),
        "x": x.tolist(),
        "y": y.tolist(),
        "hovertext": list(texts),
        "hoverinfo": "text",
        "customdata": list(keys),
        "cliponaxis": False,
        "marker": {
            "size": 9 if len(x) < 300 else 5,
            "color": ["var(--back)" if one else colour for one in empty],
            "symbol": _MARKERS[place % len(_MARKERS)],
            "line": {"color": colour, "width": 1.5},
        },
    }


def line(
    name: str, x: ArrayLike, y: ArrayLike, place: int | None = None, **more: object
) -> dict[str, Any]:
    """Return a trace that is a line without points.

    Args:
        name: in the legend.
        x: shape (n,).
        y: shape (n,).
        place: as of ``points``; None: in the colour of the text.
        more: of plotly's ``line``, such as ``dash``.
    """
    colour = _TEXT if place is None else f"var(--plot-{place % len(_MARKERS)})"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(name),
        "x": np.asarray(x, float).tolist(),
        "y": np.asarray(y, float).tolist(),
        "hoverinfo": "skip",
        "line": {"color": colour, "width": 1.5, **more},
    }


def axis(title: str, **more: object) -> dict[str, Any]:
    """Return an axis with a title that may be from outside."""
    lines = textwrap.wrap(plain(title), _TITLE) or [""]
    return {"title": {"text": "<br>".join(lines)}, **more}


def plain(text: object) -> str:
    """Return a text so that plotly shows it as it is: it would read tags."""
    shown = _printable(text)
    return html.escape(shown if len(shown) <= 60 else f"{shown[:57]}...", quote=False)


def hover(name: str, figures: Iterable[tuple[str, object]]) -> str:
    """Return what is shown beside a point: the network's name and its figures, each on a line."""
    lines = textwrap.wrap(_printable(name), _WIDTH)
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], "..."]
    shown = [f"<b>{html.escape(one, quote=False)}</b>" for one in lines]
    for title, value in figures:
        known = readable(value) if isinstance(value, int | float) else plain(value)
        shown.append(f"{plain(title)}: {known}")
    return "<br>".join(shown)


def _printable(text: object) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def page_scripts() -> dict[str, Any]:
    """Return the scripts of a page with plots, for ``base.html``.

    Plotly is packed, so that a page weighs 2 MB and not 5. No other script may run on the page
    than these two, by their hashes.
    """
    plotly = files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    own = files("brpnas.report").joinpath("report.js").read_text(encoding="utf-8")
    packed = gzip.compress(plotly, compresslevel=6, mtime=0)
    return {
        "plotly": base64.b64encode(packed).decode(),
        "own": own,
        "hashes": [_hash(plotly), _hash(own.encode())],
    }


def _hash(script: bytes) -> Markup:
    # Letters, digits and signs of base64 only; escaped, the quotes would read less well.
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return Markup("'sha256-{}'").format(digest)
