"""The picture of the rooms and of which way imports point, from the rules that the tests check."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from xml.sax.saxutils import escape

__all__ = ["parts_table", "picture", "rules"]

ROOT = Path(__file__).resolve().parents[1]
_WIDTH, _BOX_WIDTH, _BOX_HEIGHT, _ROW = 1000, 116, 38, 92
_BEND_ROOM = 0.35  # of a box's, for an arrow that passes a row
_FILLS = {"predictors": "#dbe9ff", "devices": "#dcf3e3", "datasets": "#fdebcf"}
_STYLE = (
    "text{font:14px sans-serif;text-anchor:middle;fill:#1c2430}"
    ".small{font-size:13px}rect{stroke:#5b6b82;stroke-width:1}"
    "path{fill:none;stroke:#5b6b82;stroke-width:1.2}"
)


@cache
def _layout() -> ModuleType:
    """Return the test of the layout: what each part may import stands there, and is checked."""
    path = ROOT / "tests" / "test_layout.py"
    spec = importlib.util.spec_from_file_location("brpnas_layout_rules", path)
    assert spec is not None  # noqa: S101 - for the type checker: the path ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def rules() -> dict[str, frozenset[str]]:
    """Return for each part the parts that it may import; for those that may all, what they do."""
    layout = _layout()
    allowed = {
        part: frozenset(name.partition(".")[0] for name in names)
        for part, names in layout.ALLOWED.items()
    }
    for free in layout.FREE:
        modules = (name for name in layout.SOURCES if layout._room(name) == free)
        used = {layout._room(other) for name in modules for other in layout._imports(name)}
        allowed[free] = frozenset(used - {"", free})
    return allowed


def _reach(graph: Mapping[str, frozenset[str]], part: str) -> set[str]:
    found: set[str] = set()
    front = [part]
    while front:
        for below in graph[front.pop()] - found:
            found.add(below)
            front.append(below)
    return found


def _helpers(graph: Mapping[str, frozenset[str]]) -> list[str]:
    """Return the parts of one file that import nothing: they stand below all others."""
    sources = _layout().SOURCES
    return sorted(
        part
        for part, below in graph.items()
        if not below and sources[f"brpnas.{part}"].name != "__init__.py"
    )


def _levels(graph: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """Return rows of parts, from the bottom: each part stands above all that it may import."""
    level: dict[str, int] = {}
    while len(level) < len(graph):
        for part, below in graph.items():
            if part not in level and below <= set(level):
                level[part] = 1 + max((level[name] for name in below), default=-1)
    rows: list[list[str]] = [[] for _ in range(max(level.values()) + 1)]
    for part in sorted(graph):
        rows[level[part]].append(part)
    return rows


def _arrows(graph: Mapping[str, frozenset[str]]) -> list[tuple[str, str]]:
    """Return the permissions that no chain of others gives."""
    arrows = []
    for part, below in sorted(graph.items()):
        further = set().union(*(_reach(graph, name) for name in below))
        arrows += [(part, name) for name in sorted(below - further)]
    return arrows


def _places(rows: list[list[str]], arrows: list[list[str]]) -> dict[str, float]:
    """Return the middle of each box and bend, across: all stand near what is below them."""
    under: dict[str, list[str]] = {}
    for arrow in arrows:
        for start, end in pairwise(arrow):
            under.setdefault(start, []).append(end)
    across: dict[str, float] = {}
    for row in rows:
        wanted = {
            name: sum(across[end] for end in under[name]) / len(under[name])
            if name in under
            else _WIDTH / 2
            for name in row
        }
        room = {name: _BEND_ROOM if ">" in name else 1.0 for name in row}
        taken, share = 0.0, _WIDTH / sum(room.values())
        for name in sorted(row, key=lambda name: (wanted[name], name)):
            across[name] = (taken + room[name] / 2) * share
            taken += room[name]
    return across


def picture() -> str:
    """Return the picture as SVG: an arrow for each permission that no chain of others gives."""
    everything = rules()
    helpers = _helpers(everything)
    graph = {
        part: below - set(helpers) for part, below in everything.items() if part not in helpers
    }
    rows = _levels(graph)
    level = {part: n for n, row in enumerate(rows) for part in row}
    arrows = []
    for part, below in _arrows(graph):
        # Where an arrow passes a row, it bends at a place of its own: never behind a box.
        bends = {n: f"{part}>{below}@{n}" for n in range(level[part] - 1, level[below], -1)}
        for n, bend in bends.items():
            rows[n].append(bend)
        arrows.append([part, *bends.values(), below])
    across = _places(rows, arrows)
    height = _ROW * len(rows) + _BOX_HEIGHT + 40
    top = {name: _ROW * (len(rows) - 1 - n) + 20 for n, row in enumerate(rows) for name in row}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}">',
        "<title>The parts of brpnas; arrows point from a part to those that it imports</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" '
        'style="fill:#5b6b82;stroke:none"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{height}" rx="8" style="fill:#fff;stroke:none"/>',
        *(_arrow([(across[name], top[name]) for name in arrow]) for arrow in arrows),
    ]
    for part in sorted(graph):
        lines += _box(across[part], top[part], part)
    base = height - _BOX_HEIGHT - 20
    lines += [
        f'<rect x="20" y="{base}" width="{_WIDTH - 40}" height="{_BOX_HEIGHT}" rx="5" '
        'style="fill:#f0f2f5"/>',
        f'<text class="small" x="{_WIDTH / 2:.0f}" y="{base + 24}">'
        f"{escape('for all above: ' + ', '.join(helpers))}</text>",
        "</svg>\n",
    ]
    return "\n".join(lines)


def _arrow(points: list[tuple[float, int]]) -> str:
    """Return an arrow from below the first box to the top of the last, through places between."""
    x, y = points[0][0], points[0][1] + _BOX_HEIGHT
    text = f"M{x:.0f} {y}"
    for index, (to_x, to_y) in enumerate(points[1:], 2):
        half = (to_y - y) // 2
        text += f"C{x:.0f} {y + half} {to_x:.0f} {to_y - half} {to_x:.0f} {to_y}"
        x, y = to_x, to_y
        if index < len(points):  # straight down between the boxes of the row
            y += _BOX_HEIGHT
            text += f"V{y}"
    return f'<path marker-end="url(#tip)" d="{text}"/>'


def _box(middle: float, top: int, part: str) -> list[str]:
    left = middle - _BOX_WIDTH / 2
    fill = _FILLS.get(part, "#ffffff")
    return [
        f'<rect x="{left:.0f}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="5" '
        f'style="fill:{fill}"/>',
        f'<text x="{middle:.0f}" y="{top + 24}">{escape(part)}</text>',
    ]


def parts_table() -> str:
    """Return a row for each part: what it is, by its own words, and what it may import."""
    layout, graph = _layout(), rules()
    lines = ["\n| part | what it is | may import |\n|---|---|---|\n"]
    for part in sorted(graph):
        text = layout.SOURCES[f"brpnas.{part}"].read_text(encoding="utf-8")
        said = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
        names = ", ".join(f"`{name}`" for name in sorted(graph[part])) or "nothing"
        below = "everything" if part in layout.FREE else names
        first = " ".join(said.split()).replace("``", "`").replace("|", "\\|")
        lines.append(f"| `{part}` | {first} | {below} |\n")
    return "".join(lines) + "\n"
