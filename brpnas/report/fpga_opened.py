"""What a page opens of an FPGA design: its parts and layers, with figures and a text to copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from brpnas.devices.fpga.export import by_resource
from brpnas.devices.fpga.layers import LAYERS
from brpnas.devices.fpga.mapping import Design
from brpnas.report.fpga_layers import BuiltLayer, layer_rows
from brpnas.report.fpga_roofline import Roofs, point_facts, point_of
from brpnas.report.fpga_words import count, duration, percent, set_by
from brpnas.report.interactive import Network
from brpnas.report.summary import Facts

__all__ = ["opened_design", "opened_layers", "opened_part"]


def opened_part(number: int, design: Design, rows: Sequence[BuiltLayer], roofs: Roofs) -> Network:
    """Return a part: its figures, and all its layers with their foldings.

    Args:
        number: of the part, from 1.
        design: that it belongs to.
        rows: its layers.
        roofs: of the board.
    """
    part, problem = design.parts[number - 1], design.problem
    several = len(design.parts) > 1
    seconds = part.costs.cycles / (problem.platform.clock_mhz * 1e6)
    slowest = max(rows, key=lambda row: row.latency)
    point = point_of(part)
    board, needs = problem.platform.resources, by_resource(problem.needs(part.costs.resources))
    figures: Facts = [
        ("interval set by", set_by(part)),
        ("cycles from image to image", count(part.costs.interval)),
        ("slowest layer", f"{slowest.name}: {slowest.built}"),
        ("layers", len(rows)),
        ("time of the batch", duration(seconds)),
        *([("share of the time", percent(seconds / design.seconds))] if several else []),
        ("images per second", problem.batch / seconds),
        *(point_facts(point, roofs) if point else []),
        *(
            (name, f"{count(np.ceil(needed))} of {count(board[name])}")
            for name, needed in needs.items()
            if board[name]
        ),
    ]
    title = f"Part {number} of {len(design.parts)}" if several else "The design"
    return Network(f"part-{number}", title, _listed(rows), figures)


def opened_layers(number: int, rows: Sequence[BuiltLayer]) -> list[Network]:
    """Return the layers of a part, each with a row of `evaluate_layers` to copy.

    Args:
        number: of the part, from 1.
        rows: its layers.
    """
    return [
        Network(f"layer-{number}-{at}", row.name, _as_table_row(row), _figures(row))
        for at, row in enumerate(rows)
    ]


def opened_design(design: Design, title: str, figures: Facts) -> Network:
    """Return a design among others: what it found, and all its layers with their foldings."""
    listed = [_listed(layer_rows(part)) for part in design.parts]
    if len(listed) > 1:
        listed = [f"part {number}\n{text}" for number, text in enumerate(listed, 1)]
    return Network("design", title, "\n\n".join(listed), figures)


def _listed(rows: Sequence[BuiltLayer]) -> str:
    return "\n".join(f"{row.name}: {row.built}" for row in rows)


def _figures(row: BuiltLayer) -> Facts:
    board = row.part.segment.problem.platform.resources
    return [
        ("kind", row.kind.replace("_", " ")),
        ("folding", row.folding),
        ("streams", f"{row.streams_in} → {row.streams_out}"),
        ("cycles", count(row.latency)),
        ("share of the interval", percent(row.share)),
        ("bound by", row.bound_by),
        *([("weights in", row.weights)] if row.weights else []),
        *((name, count(taken)) for name, taken in row.resources.items() if board[name]),
    ]


def _as_table_row(row: BuiltLayer) -> str:
    words, node = row.part.segment.problem.words, row.ways.node
    layer = LAYERS[node.kind]
    known: dict[str, Any] = {f"{name}_width": bits for name, bits in asdict(words).items()}
    known |= {**node.sizes, **row.ways.row(row.row)}
    known |= {"buffer_depth": 1, "block_floating_point": int(words.block_floating_point)}
    wanted = (*layer.inputs, *layer.optional)
    return json.dumps({name: known[name] for name in wanted if name in known})
