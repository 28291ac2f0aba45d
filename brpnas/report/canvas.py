"""What all plots share: canvas, colours, legend, file."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from brpnas.report.writing import write_file

__all__ = ["LINE", "LOOKS", "add_legend", "new_canvas", "plain", "save_figure"]

# Okabe and Ito's colours, which people with any colour vision tell apart; each origin has its own
# marker too, for prints without colour.
LOOKS = [
    ("#0072B2", "o"),
    ("#D55E00", "^"),
    ("#009E73", "s"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
]
LINE = "#333333"


def new_canvas(width: float = 7.2, height: float = 4.0) -> tuple[Figure, Axes]:
    """Return a figure of so many inches: of its own, as pyplot keeps state and wants a display."""
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def add_legend(axes: Axes) -> None:
    """Put the legend beside the picture."""
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def plain(column: str) -> str:
    """Return a column's name as plain text: matplotlib would read dollars as formulas."""
    shown = "".join(character if character.isprintable() else "?" for character in column)
    return (shown if len(shown) <= 60 else f"{shown[:57]}...").replace("$", r"\$")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, the same bytes for the same figure; return the path.

    Raises:
        UserError: it cannot be written.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A column's name may hold letters that the font lacks: boxes are drawn in their place.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(content, format="png", metadata={"Software": None})
    write_file(path, content.getvalue())
    return path
