"""What a run tells, in the form in which runs of any kind are compared: the noun Summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from brpnas.report.interactive import Network

__all__ = ["Axes", "Curve", "Facts", "Summary"]

Facts = list[tuple[str, Any]]
"""Titles with text or numbers."""


class Axes(NamedTuple):
    """What a plot shows: its title, what from left to right, and what upwards, with units."""

    title: str
    across: str
    up: str


@dataclass(frozen=True)
class Curve:
    """A line of points; those of several runs with the same axes stand in one plot.

    Attributes:
        axes: of the plot.
        x: shape (n,).
        y: shape (n,).
        texts: beside each point, by ``hover``.
        keys: of the networks that the points open; None of those that open nothing.
        label: of the line, where a run has several in a plot.
        shape: of the line: plotly's ``linear``, ``hv`` for what stays until the next point.
    """

    axes: Axes
    x: ArrayLike
    y: ArrayLike
    texts: Sequence[str]
    keys: Sequence[str | None]
    label: str = ""
    shape: str = "linear"


@dataclass(frozen=True)
class Summary:
    """A run of any kind.

    Attributes:
        kind: in words, of several: a heading.
        found: what it found.
        asked: what it was asked.
        device: what costs are of, and how they were measured.
        command: that makes it again; empty if it is not known.
        provenance: versions, seed, hashes.
        curves: its pictures.
        networks: that the curves' points open.
    """

    kind: str
    found: Facts
    asked: Facts
    device: Facts
    command: str
    provenance: Facts
    curves: Sequence[Curve]
    networks: Sequence[Network] = ()
