"""Designs as JSON: written, and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.devices.fpga.evaluate import evaluate_layers
from brpnas.devices.fpga.foldings import RESOURCES, Foldings, Words
from brpnas.devices.fpga.mapping.design import Design, Part
from brpnas.devices.fpga.network import INPUT, Network, Node
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.platform import Platform
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import DAMAGE, UserError, one_line

__all__ = [
    "DESIGN_FORMAT",
    "DESIGN_VERSION",
    "bound_of",
    "by_resource",
    "describe_design",
    "read_design",
]

DESIGN_FORMAT = "brpnas-fpga-design"
DESIGN_VERSION = 2

_BOARD = ("clock_mhz", "memory_gbit_per_s", "port_width", "reconfiguration_s")


def describe_design(design: Design) -> dict[str, Any]:
    """Return a design as what JSON can hold; ``docs/fpga.md`` says what is what.

    All that a design is computed from is in it, so that ``read_design`` needs nothing else.
    """
    problem = design.problem
    return {
        "format": DESIGN_FORMAT,
        "version": DESIGN_VERSION,
        "network": {"name": problem.network.name, "input": list(problem.network.input)},
        "platform": asdict(problem.platform),
        "words": asdict(problem.words),
        "objective": "latency" if problem.batch == 1 else "throughput",
        "batch": problem.batch,
        "margin": problem.margin,
        "reference_exact": problem.reference_exact,
        "proven": design.proven,
        "command": design.command,
        "latency_s": design.seconds,
        "throughput_fps": design.frames_per_second,
        "limits": by_resource(problem.limits),
        "parts": [_part(part) for part in design.parts],
    }


def by_resource(counts: NDArray[np.float64]) -> dict[str, float]:
    """Return counts by the resource's name, whole numbers as such.

    Args:
        counts: shape (5,), in the order of ``RESOURCES``.
    """
    return {name: _plain(float(n)) for name, n in zip(RESOURCES, counts, strict=True)}


def bound_of(ways: Foldings, row: int) -> str:
    """Return what keeps a layer from being faster.

    Args:
        ways: how the layer can be built.
        row: how it is built.

    Returns:
        ``"multipliers"``, where they are never idle and more of them would help; else
        ``"streams in"``, as many words as arrive at a time.
    """
    computing = ways.node.macs >= ways.latency[row] * ways.lanes[row]
    return "multipliers" if computing else "streams in"


def _part(part: Part) -> dict[str, Any]:
    segment, costs, names = part.segment, part.costs, [node.name for node in part.segment.nodes]
    network = segment.problem.network
    return {
        "reloads": segment.reloads,
        "interval_cycles": _plain(costs.interval),
        "depth_cycles": costs.depth,
        "cycles": _plain(costs.cycles),
        "bound_by": costs.bound_by,
        "gbit_per_s": costs.gbit_per_s,
        "resources": by_resource(costs.resources),
        "needs": by_resource(np.ceil(segment.problem.needs(costs.resources))),
        "layers": [
            _layer(node, ways, row)
            for node, ways, row in zip(
                network.nodes[segment.start : segment.stop], segment.ways, part.choice, strict=True
            )
        ],
        "squeezes": [
            {
                "from": names[first] if first >= 0 else None,
                "to": names[second] if second >= 0 else None,
                "streams_in": one,
                "streams_out": other,
            }
            for first, second, one, other in segment.squeezes(part.choice)
        ],
        "queues": [
            {"layer": names[at], "input": names[before], "words": words}
            for (at, before), words in segment.buffers(part.choice).items()
        ],
    }


def _layer(node: Node, ways: Foldings, row: int) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind,
        "inputs": list(node.inputs),
        "sizes": dict(node.sizes),
        "output": list(node.output),
        "folding": ways.row(row),
        "streams_in": int(ways.streams_in[row]),
        "streams_out": int(ways.streams_out[row]),
        "latency_cycles": _plain(float(ways.latency[row])),
        "resources": by_resource(ways.resources[row]),
        "bound_by": bound_of(ways, row),
    }


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else number


def read_design(path: Path) -> Design:
    """Read a design from the JSON that ``describe_design`` makes.

    Raises:
        UserError: the file cannot be read, is of another format or version, is damaged, or what it
            says is not what is computed from it; names the file and the place in it.
    """
    try:
        content = json.loads(Path(path).read_bytes(), parse_constant=_no_number)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {one_line(error)}") from None
    if not isinstance(content, dict) or content.get("format") != DESIGN_FORMAT:
        raise UserError(f"{path}: not a design; its format is not '{DESIGN_FORMAT}'")
    version = content.get("version")
    if version != DESIGN_VERSION:
        shown = one_line(repr(version), 50)
        raise UserError(f"{path}: version {shown} of the format; accepted: {DESIGN_VERSION}")
    try:
        return _design(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except KeyError as error:
        raise UserError(f"{path}: damaged: {error} is missing") from None
    except DAMAGE as error:
        raise UserError(f"{path}: damaged: {one_line(error)}") from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _design(content: Mapping[str, Any]) -> Design:
    words = Words(**content["words"])
    layers = [layer for part in content["parts"] for layer in part["layers"]]
    for layer in layers:
        _check_layer(layer, words)
    whole, board = content["network"], content["platform"]
    names = (whole["name"], board["name"], board["title"], content["command"])
    for text in (*names, *(one["name"] for one in layers)):
        if not isinstance(text, str):
            raise ValueError(f"{text!r} is no name")
    if min(board[name] for name in _BOARD) <= 0 or min(board["resources"].values()) < 0:
        raise ValueError("a board has more than 0 of everything")
    network = Network(whole["name"], _shape(whole["input"]), tuple(map(_node, layers)))
    for node in network.nodes:
        sizes = node.sizes["rows"], node.sizes["cols"], node.sizes["channels"]
        flat = (1, 1, math.prod(network.input))
        if node.inputs == (INPUT,) and sizes not in (network.input, flat):
            raise ValueError(f"layer {node.name!r} takes another shape than the network's input")
    batch, margin = content["batch"], content["margin"]
    if not isinstance(batch, int) or batch < 1 or not 0 <= margin < 1:
        raise ValueError(f"a batch of {batch!r} with a margin of {margin!r}")
    problem = Problem(
        network,
        Platform(**board),
        words,
        batch,
        margin,
        bool(content["reference_exact"]),
    )
    parts: list[Part] = []
    start = 0
    for entry in content["parts"]:
        stop = start + len(entry["layers"])
        segment = Segment(problem, start, stop, entry["reloads"])
        foldings = [layer["folding"] for layer in entry["layers"]]
        choice = tuple(map(_row, segment.nodes, segment.ways, foldings))
        parts.append(Part(segment, choice))
        start = stop
    design = Design(problem, tuple(parts), bool(content["proven"]), content["command"])
    other = _difference(content, json.loads(json.dumps(describe_design(design))))
    if other:
        raise UserError(f"{other}: edited, or made by another version; map the network again")
    return design


def _difference(said: Any, computed: Any, place: str = "") -> str:  # noqa: ANN401 - any JSON
    """Return the first place where two values differ, and how; empty if they do not."""
    if (
        type(said) is type(computed)
        and isinstance(said, dict | list)
        and len(said) == len(computed)
    ):
        keys = said if isinstance(said, dict) else range(len(said))
        for key in keys:
            inner = f"{place}.{key}" if isinstance(said, dict) else f"{place}[{key}]"
            found = _difference(said[key], computed[key], inner)
            if found:
                return found
        return ""
    return "" if said == computed else one_line(f"{place[1:]} is {computed}, not {said}")


def _check_layer(layer: Mapping[str, Any], words: Words) -> None:
    """Refuse sizes that are none: their divisors could not even be counted."""
    widths = {"data_width": words.data, "weight_width": words.weight, "acc_width": words.acc}
    row = {**widths, "buffer_depth": 2, **layer["sizes"], **layer["folding"]}
    evaluate_layers(layer["kind"], pd.DataFrame([row], index=[repr(layer["name"])]))


def _node(layer: Mapping[str, Any]) -> Node:
    sizes = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in layer["sizes"].items()
    }
    return Node(
        layer["name"], layer["kind"], sizes, tuple(layer["inputs"]), _shape(layer["output"])
    )


def _shape(sizes: Any) -> tuple[int, int, int]:  # noqa: ANN401 - the file's
    rows, cols, channels = sizes
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"a shape of {sizes}")
    return rows, cols, channels


def _row(node: Node, ways: Foldings, folding: Mapping[str, int]) -> int:
    """Return which way to build a layer has a folding."""
    if set(folding) == set(ways.columns):
        same = [values == folding[name] for name, values in ways.columns.items()]
        found = np.flatnonzero(np.all(same, axis=0))
        if len(found):
            return int(found[0])
    raise UserError(f"layer '{node.name}' cannot be folded as {dict(folding)}")
