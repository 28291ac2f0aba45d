"""The page of an FPGA design: one HTML file that needs nothing else."""

from __future__ import annotations

import platform as machine
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from brpnas.devices.fpga.export import by_resource, read_design
from brpnas.devices.fpga.foldings import RESOURCES
from brpnas.devices.fpga.mapping import Design, Part
from brpnas.devices.fpga.problem import LOGIC_MARGIN, LUTS_PER_BLOCK, Problem
from brpnas.report.fpga_layers import BuiltLayer, bottleneck, layer_rows, sum_rows
from brpnas.report.fpga_opened import opened_design, opened_layers, opened_part
from brpnas.report.fpga_pipeline import ROW_HEIGHT, pipeline_lanes, pipeline_svg
from brpnas.report.fpga_roofline import Roofs, point_of, roofline_plot, roofs_of
from brpnas.report.fpga_words import count, duration, percent, set_by
from brpnas.report.interactive import hover
from brpnas.report.rendering import render
from brpnas.report.summary import Axes, Curve, Facts, Summary
from brpnas.report.writing import write_page
from brpnas.values import counted, readable

__all__ = ["summarise_design", "write_design_report", "write_fpga_report"]


def write_fpga_report(design: Design, path: Path) -> None:
    """Write the page of a design.

    Args:
        design: with at least one part.
        path: of the HTML file; one that is there is replaced.

    Raises:
        UserError: the file cannot be written.
    """
    write_page(path, _render(design))


def write_design_report(path: Path, out: Path) -> Path:
    """Write the page of a design that ``brpnas fpga map`` wrote.

    Args:
        path: of the design, ``.json``.
        out: the page.

    Returns:
        The page's path.

    Raises:
        UserError: not a design, or the page cannot be written.
    """
    write_fpga_report(read_design(path), out)
    return out


def summarise_design(path: Path) -> Summary:
    """Return what a design tells.

    Raises:
        UserError: not a design.
    """
    design = read_design(path)
    problem = design.problem
    needs = problem.needs(np.stack([part.costs.resources for part in design.parts])).max(axis=0)
    used = {name: n for name, n in by_resource(np.ceil(needs)).items() if n}
    title = f"{problem.network.name} on {problem.platform.title}"
    figures: Facts = [
        ("images per second", design.frames_per_second),
        ("DSP, the most of any part", used.get("DSP", 0)),
    ]
    found: Facts = [
        ("Latency of a batch", duration(design.seconds)),
        *((name[0].upper() + name[1:], value) for name, value in figures),
        ("Parts", len(design.parts)),
        *((name, n) for name, n in used.items() if name != "DSP"),
        ("Fits", "yes" if design.fits else "no"),
        ("No better one exists", "yes" if design.proven else "not known"),
    ]
    return Summary(
        kind="FPGA designs",
        found=found,
        asked=list(_asked(problem).items()),
        device=[],
        command=design.command,
        provenance=list(_versions().items()),
        curves=[
            Curve(
                Axes("Designs", figures[1][0], figures[0][0]),
                x=[figures[1][1]],
                y=[figures[0][1]],
                texts=[hover(title, figures)],
                keys=["design"],
            )
        ],
        networks=[opened_design(design, title, found)],
    )


@dataclass(frozen=True)
class _Bar:
    """How much of something a part takes.

    Attributes:
        name: of what.
        used: so much, with what has to be free for it.
        board: what the board has.
        limit: what designs may take of it.
        pieces: of the bar, (class, share of the board); they make up ``used``.
        unit: of the numbers.
    """

    name: str
    used: float
    board: float
    limit: float
    pieces: tuple[tuple[str, float], ...]
    unit: str = ""

    @property
    def share(self) -> float:
        return self.used / self.board


def _render(design: Design) -> str:
    problem, roofs = design.problem, roofs_of(design.problem)
    parts = [_part(number, part, design, roofs) for number, part in enumerate(design.parts, 1)]
    loads = design.seconds - sum(part["seconds"] for part in parts)
    return render(
        "fpga.html",
        {"count": count, "percent": percent, "time": duration},
        network=problem.network,
        board=problem.platform,
        asked=_asked(problem),
        problem=problem,
        design=design,
        parts=parts,
        loading_s=loads,
        slowest=max(parts, key=lambda part: part["cycles_per_image"]),
        resources=[name for name in RESOURCES if problem.platform.resources[name]],
        row_height=ROW_HEIGHT,
        plots=[roofline_plot(design, [part["opened"].key for part in parts])],
        opened=[one for part in parts for one in (part["opened"], *part["layers"])],
        logic_margin=LOGIC_MARGIN,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    return {"brpnas": version("brpnas"), "python": machine.python_version()}


def _asked(problem: Problem) -> dict[str, str]:
    network, board, words = problem.network, problem.platform, problem.words
    exact = "reference-exact: fpgaConvNet's numbers, also where they are odd"
    bits = f"data {words.data} bits, weights {words.weight}, sums {words.acc}"
    limits = zip(RESOURCES, problem.limits.tolist(), strict=True)
    return {
        "Network": f"{network.name}, {len(network.nodes)} layers, input of "
        + " x ".join(map(str, network.input)),
        "Multiply-adds": f"{sum(node.macs for node in network.nodes):,} per image",
        "Board": board.title,
        "Clock": f"{readable(board.clock_mhz)} MHz",
        "Objective": "latency" if problem.batch == 1 else "throughput",
        "Batch": counted(problem.batch, "image"),
        "Words": bits + (", block floating point" if words.block_floating_point else ""),
        "Mode": exact if problem.reference_exact else "physical: what the circuit does",
        "Margin": f"{percent(problem.margin)} of every resource stays free",
        "Limits": ", ".join(f"{name} {count(limit)}" for name, limit in limits if limit),
        "Memory": f"{readable(_memory_limit(problem))} Gbit/s; "
        f"{problem.port_streams} words in and as many out per cycle",
    }


def _part(number: int, part: Part, design: Design, roofs: Roofs) -> dict[str, Any]:
    """Return what the page tells of a part."""
    segment, costs, problem = part.segment, part.costs, design.problem
    clock_hz = problem.platform.clock_mhz * 1e6
    rows, slowest = layer_rows(part), bottleneck(part)
    svg, width = pipeline_svg(pipeline_lanes(segment), _looks(rows, slowest))
    reloaded = segment.reload_layer() if segment.reloads > 1 else None
    point = point_of(part)
    needs = problem.needs(costs.resources)
    return {
        "number": number,
        "costs": costs,
        "fits": part.fits,
        "rows": rows,
        "opened": opened_part(number, design, rows, roofs),
        "layers": opened_layers(number, rows),
        "streamed": any(row.streamed for row in rows),
        "sums": sum_rows(part),
        "slowest": slowest,
        "bound_by": set_by(part),
        "as_slow": sum(row.slowest for row in rows) - 1,
        "bars": _bars(part),
        "built_of_luts": costs.resources[1] - needs[1],
        "reading": 1.0
        if slowest in ("memory", "input")
        else costs.gbit_per_s / _memory_limit(problem),
        "passes": segment.reloads,
        "reloaded": None if reloaded is None else segment.nodes[reloaded].name,
        "cycles_per_image": costs.interval * segment.reloads,
        "clock_hz": clock_hz,
        "seconds": costs.cycles / clock_hz,
        "lanes": Markup(svg),  # noqa: S704 - numbers only
        "lanes_width": width,
        "point": point,
        "attainable": roofs.at(point.operations_per_byte) if point else 0.0,
    }


def _looks(rows: list[BuiltLayer], slowest: str) -> list[str]:
    """Return the class of each dot: memory that is read, layers, memory that is written."""
    layers = ["hot" if row.slowest else "heavy" if row.weights else "light" for row in rows]
    first = "hot" if slowest in ("memory", "input") else "memory"
    return [first, *layers, "hot" if slowest == "output" else "memory"]


def _bars(part: Part) -> list[_Bar]:
    problem, costs = part.segment.problem, part.costs
    board = problem.platform.resources
    needs = problem.needs(costs.resources)
    in_luts = LUTS_PER_BLOCK * float(costs.resources[1] - needs[1])
    bars = []
    for at, name in enumerate(RESOURCES):
        if not board[name]:
            continue
        plain = min(float(costs.resources[at]), float(needs[at]))
        instead = in_luts if name == "LUT" else 0.0
        pieces = {"plain": plain, "instead": instead, "spare": float(needs[at]) - plain - instead}
        shares = tuple((look, value / board[name]) for look, value in pieces.items() if value > 0)
        bars.append(_Bar(name, float(needs[at]), board[name], float(problem.limits[at]), shares))
    whole = problem.platform.memory_gbit_per_s
    traffic = (("plain", costs.gbit_per_s / whole),)
    limit = _memory_limit(problem)
    return [*bars, _Bar("Memory", costs.gbit_per_s, whole, limit, traffic, "Gbit/s")]


def _memory_limit(problem: Problem) -> float:
    """Return what designs may read and write, Gbit/s."""
    return problem.bits_per_cycle * problem.platform.clock_mhz / 1000
