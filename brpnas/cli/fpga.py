"""``brpnas fpga``: what networks cost on FPGAs, computed."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from brpnas.cli._names import either
from brpnas.cli._options import Json, seed_option
from brpnas.cli._output import (
    command_line,
    note,
    number,
    print_json,
    printable,
    progress_bar,
    refuse,
    show,
)
from brpnas.errors import UserError, one_line, unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from brpnas.devices.fpga.foldings import Words
    from brpnas.devices.fpga.mapping import Design, Optimiser, Part
    from brpnas.report.fpga_layers import LayerRow

__all__ = ["fpga"]

_OPTIMISERS = ("best", "rule", "annealing", "brute")
_BATCHES = {"latency": 1, "throughput": 256}
"""The default batch of each objective."""
_WORDS = {
    **{str(bits): (bits, False) for bits in (4, 8, 16)},
    **{f"bfp{bits}": (bits, True) for bits in (4, 8, 16)},
}
"""Bits, and whether words share an exponent."""
_COUNTED = ("DSP", "BRAM", "LUT")  # of each layer; narrow terminals have no room for all
_LONGEST_NAME = 240  # bytes; the file that is written first has a longer one
_SHOWN = ("clock_mhz", "memory_gbit_per_s", "port_width", "reconfiguration_s")

_ReferenceExact = Annotated[
    bool,
    typer.Option(
        "--reference-exact", help="Count as fpgaConvNet's model does where it is odd; to compare."
    ),
]

fpga = typer.Typer(
    no_args_is_help=True, help="Map networks to FPGAs on paper: what they cost, and why."
)


@fpga.command("map")
def map_network(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            help="An .onnx file, or package.module:function, which returns a torch module and its "
            "example input."
        ),
    ],
    platform: Annotated[
        str, typer.Option(help="Board: a name from `brpnas fpga platforms`, or a .toml file.")
    ],
    out: Annotated[Path, typer.Option(help="Design to write: .json.")],
    objective: Annotated[
        str, typer.Option(help="latency (of one image) or throughput (of a batch).")
    ] = "latency",
    batch: Annotated[
        int | None,
        typer.Option(
            help="Images between one load of the board and the next.",
            show_default="1 for latency, 256 for throughput",
        ),
    ] = None,
    optimiser: Annotated[str, typer.Option(help=f"How to map: {either(_OPTIMISERS)}.")] = "best",
    word: Annotated[
        str,
        typer.Option(
            help=f"Bits of the numbers: {either(tuple(_WORDS))}; bfp: block floating point."
        ),
    ] = "16",
    margin: Annotated[
        float, typer.Option(help="Share of every resource that stays free, from 0 to below 1.")
    ] = 0.0,
    reference_exact: _ReferenceExact = False,
    seed: Annotated[int, seed_option("annealing; the others draw nothing")] = 0,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds that mapping may take.", show_default="none")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Page to write: .html.", show_default="beside the design")
    ] = None,
    fpgaconvnet: Annotated[
        Path | None,
        typer.Option(
            help="The design once more, for fpgaConvNet's back end: .json.", show_default="none"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Map a network to a board: its parts, and a folding for every layer.

    The design is the one found that is quickest for the batch and that the board has room for.
    """
    from brpnas.devices.fpga import read_platform
    from brpnas.devices.fpga.export import describe_design
    from brpnas.devices.fpga.problem import Problem
    from brpnas.devices.fpga.sources import read_network
    from brpnas.report.fpga_page import write_fpga_report

    started = time.perf_counter()
    images = _images(objective, batch)
    words = _words(word)
    if not 0 <= margin < 1:
        raise UserError(f"--margin {margin:g}; accepted: from 0 to below 1")
    mapper = _optimiser(optimiser, seed, time_limit)
    board = read_platform(platform)
    report = report or out.parent / f"{out.stem}.html"
    files = {"--out": out, "--report": report, "--fpgaconvnet": fpgaconvnet}
    written = {option: path for option, path in files.items() if path is not None}
    _check_writable(written, {"--model": Path(model), "--platform": Path(platform)})
    for option, path in written.items():
        suffix = ".html" if option == "--report" else ".json"
        if path.suffix.lower() != suffix:
            raise UserError(f"{option} {path}: accepted is a file's name that ends in {suffix}")
    network = read_network(model)
    problem = Problem(network, board, words, images, margin, reference_exact)
    with progress_bar("mapping"), _at_most(mapper, time_limit):
        design = mapper.map(problem)
    command = command_line(ctx, leave_out=("as_json",)).removeprefix("brpnas ")
    design = dataclasses.replace(design, command=f"brpnas fpga {command}")
    # First what may refuse the design, so that nothing is half-written.
    theirs = None if fpgaconvnet is None else _for_fpgaconvnet(design, model)
    _write_json(out, describe_design(design))
    if fpgaconvnet is not None and theirs is not None:
        _write_json(fpgaconvnet, theirs)
    write_fpga_report(design, report)
    summary = _summary(design, round(time.perf_counter() - started, 3))
    if as_json:
        print_json(summary)
    else:
        _show(design, summary)
        note(f"report: {report}")


def _images(objective: str, batch: int | None) -> int:
    if objective not in _BATCHES:
        raise unknown_name("objective", objective, _BATCHES)
    images = _BATCHES[objective] if batch is None else batch
    if images < 1:
        raise UserError(f"--batch {images}; accepted: a whole number from 1")
    if objective == "latency" and images > 1:
        raise UserError(f"--batch {images} goes with --objective throughput; latency is of 1 image")
    return images


def _words(word: str) -> Words:
    from brpnas.devices.fpga.foldings import Words

    if word not in _WORDS:
        raise unknown_name("word", word, _WORDS)
    bits, shared = _WORDS[word]
    return Words(bits, bits, block_floating_point=shared)


def _optimiser(name: str, seed: int, time_limit: float | None) -> Optimiser:
    """Make an optimiser: its constructor gets what it asks for of seed and time limit."""
    from brpnas.devices.fpga.mapping import OPTIMISERS

    if name not in OPTIMISERS:
        raise unknown_name("optimiser", name, OPTIMISERS)
    if time_limit is not None and not 0 < time_limit < float("inf"):
        raise UserError(f"--time-limit {time_limit:g}; accepted: a number of seconds above 0")
    offered = {"seed": seed, "time_limit_s": time_limit}
    wanted = inspect.signature(OPTIMISERS[name]).parameters
    make = cast("Callable[..., Optimiser]", OPTIMISERS[name])
    return make(**{option: value for option, value in offered.items() if option in wanted})


class _OutOfTimeError(Exception):
    """No ``UserError``, which optimisers may take for one of theirs."""


@contextlib.contextmanager
def _at_most(mapper: Optimiser, seconds: float | None) -> Iterator[None]:
    """Stop a mapper that has no time limit of its own."""
    if seconds is None or "time_limit_s" in inspect.signature(type(mapper)).parameters:
        yield
        return

    def stop(*_: object) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _OutOfTimeError:
        raise UserError(
            f"no design within --time-limit {seconds:g}; give it more seconds"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _check_writable(files: dict[str, Path], read: dict[str, Path]) -> None:
    """Check that files can be written, and are none that are read, before the work for them."""
    seen = {path.resolve(): option for option, path in read.items()}
    for option, path in files.items():
        if path.resolve() in seen:
            raise UserError(f"{option} and {seen[path.resolve()]} are the same file: {path}")
        seen[path.resolve()] = option
        if path.is_dir():
            raise UserError(f"{option} {path}: is a folder, not a file")
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{option} {path}: is a link or a device, not a file")
        if len(path.name.encode()) > _LONGEST_NAME:
            raise UserError(f"{option} {path.name[:40]}...: the name is too long")
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise UserError(f"{option} {path}: cannot be written: {error.strerror}") from None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from brpnas.files import replace_file

    text = json.dumps(content, indent=1, allow_nan=False)
    replace_file(path, f"{text}\n".encode())


def _for_fpgaconvnet(design: Design, model: str) -> dict[str, Any]:
    from brpnas.devices.fpga.fpgaconvnet import fpgaconvnet_partitions, onnx_nodes

    path = Path(model)
    nodes = onnx_nodes(path) if path.suffix.lower() == ".onnx" else None
    return fpgaconvnet_partitions(design, nodes)


def _summary(design: Design, wall_s: float) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    import numpy as np

    from brpnas.devices.fpga.export import by_resource

    problem = design.problem
    needs = np.ceil(problem.needs(np.stack([part.costs.resources for part in design.parts])))
    resources, limits = by_resource(needs.max(axis=0)), by_resource(problem.limits)
    if not problem.platform.resources["URAM"]:
        del resources["URAM"], limits["URAM"]
    return {
        "feasible": design.fits,
        "latency_s": design.seconds,
        "throughput_fps": design.frames_per_second,
        "partitions": len(design.parts),
        "interval_cycles": max(int(part.costs.interval) for part in design.parts),
        "resources": resources,
        "limits": limits,
        "wall_s": wall_s,
    }


def _show(design: Design, summary: dict[str, Any]) -> None:
    problem = design.problem
    for place, part in enumerate(design.parts, start=1):
        _show_part(f"Part {place} of {len(design.parts)}", part)
    used = ", ".join(
        f"{number(need)} of {number(summary['limits'][name])} {name}"
        for name, need in summary["resources"].items()
    )
    images = "an image" if problem.batch == 1 else f"{problem.batch} images"
    typer.echo(
        printable(
            f"{problem.network.name} on {problem.platform.name} at "
            f"{problem.platform.clock_mhz:g} MHz: {number(design.seconds * 1000)} ms for {images}, "
            f"{number(design.frames_per_second)} images/s; {used}"
            + ("; no better design exists" if design.proven else "")
        )
    )


def _show_part(title: str, part: Part) -> None:
    from brpnas.report.fpga_layers import layer_rows, sum_rows

    costs, passes = part.costs, part.segment.reloads
    layers = [
        (
            *(row.name, row.built, int(row.latency), f"{row.share:.0%}"),
            *(*_counts(row), row.bound_by),
        )
        for row in layer_rows(part)
    ]
    sums = [(row.name, row.folding, "", "", *_counts(row), "") for row in sum_rows(part)]
    show(
        f"{title}: an image every {costs.interval:,.0f} cycles, set by {costs.bound_by}"
        + (f"; {passes} passes, each with weights of its own" if passes > 1 else ""),
        ("layer", "folding", "cycles", "busy", *_COUNTED, "bound by"),
        layers + sums,
    )


def _counts(row: LayerRow) -> list[float]:
    counts = row.resources or {}
    return [int(n) if n.is_integer() else n for n in (float(counts[name]) for name in _COUNTED)]


@fpga.command()
def platforms(as_json: Json = False) -> None:
    """List the boards that come with the package."""
    from brpnas.devices.fpga import built_in_platforms, read_platform

    boards = [read_platform(name) for name in built_in_platforms()]
    if as_json:
        entries = [
            {
                **{"name": board.name, "title": board.title, "resources": dict(board.resources)},
                **{key: getattr(board, key) for key in _SHOWN},
            }
            for board in boards
        ]
        print_json({"platforms": entries})
        return
    counted = tuple(boards[0].resources)
    rows = [
        (
            board.name,
            *(board.resources[name] for name in counted),
            board.clock_mhz,
            board.memory_gbit_per_s,
            board.title,
        )
        for board in boards
    ]
    columns = ("name", *counted, "MHz", "memory, Gbit/s", "title")
    show("Boards that come with the package; BRAM in blocks of 18 Kbit", columns, rows)


@fpga.command()
def layers(
    ctx: typer.Context,
    kind: Annotated[
        str | None,
        typer.Option(help="Judge layers of this kind: those in --table.", show_default="list"),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Their sizes and foldings, a row each: .parquet or .csv.", show_default="none"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Table to write, with their costs.", show_default="none"),
    ] = None,
    reference_exact: _ReferenceExact = False,
    as_json: Json = False,
) -> None:
    """List the kinds of layers and what they are computed from, or judge a table of layers."""
    from brpnas.devices.fpga import COSTS, LAYERS, evaluate_layers

    if kind is None:
        for name in ("table", "out", "reference_exact"):
            refuse(ctx, name, "--kind")
        _list_layers(as_json)
        return
    if kind not in LAYERS:
        raise unknown_name("kind of layer", kind, LAYERS)
    if table is None or out is None:
        raise UserError("--kind needs --table, the layers, and --out, where their costs go")
    _check_suffix(out)
    _check_writable({"--out": out}, {"--table": table})
    rows = _read_table(table)
    costs = evaluate_layers(kind, rows, reference_exact=reference_exact)
    _write_table(rows.assign(**{name: costs[name] for name in COSTS}), out)
    if as_json:
        print_json({"out": str(out), "kind": kind, "rows": len(rows), "columns": list(COSTS)})
    else:
        note(f"{out}: {len(rows)} layers of kind {kind}, with {', '.join(COSTS)}")


def _list_layers(as_json: bool) -> None:
    from brpnas.devices.fpga import LAYERS

    if as_json:
        entries = [
            {"kind": kind, "columns": list(layer.inputs), "optional": dict(layer.optional)}
            for kind, layer in LAYERS.items()
        ]
        print_json({"kinds": entries})
        return
    rows = [
        (kind, ", ".join(layer.inputs), ", ".join(layer.optional)) for kind, layer in LAYERS.items()
    ]
    show("Kinds of layers", ("kind", "columns", "optional"), rows)


_SUFFIXES = (".parquet", ".csv")


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path}: unknown kind of table; accepted: {either(_SUFFIXES)}")


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    _check_suffix(path)
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {one_line(error.strerror or error)}") from None
    except Exception as error:  # each of the parsers has its own
        raise UserError(f"{path}: not a table: {one_line(error)}") from error


def _write_table(table: pd.DataFrame, path: Path) -> None:
    import io

    from brpnas.files import replace_file

    content = io.BytesIO()
    if path.suffix.lower() == ".parquet":
        table.to_parquet(content)
    else:
        table.to_csv(content, index=False)
    replace_file(path, content.getvalue())
