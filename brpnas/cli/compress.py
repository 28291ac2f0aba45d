"""``brpnas compress``: take a compressed network out as files that other programs run."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brpnas.cli._options import Json
from brpnas.cli._output import left_line, note, print_json, refuse, show

if TYPE_CHECKING:
    from torch import Tensor

    from brpnas.exporting import Exported
    from brpnas.models import LoadedModel

__all__ = ["compress"]

_IMAGES = 64


def compress(
    ctx: typer.Context,
    recipe: Annotated[
        Path,
        typer.Option(help="What to build: a .json file; its weights are in the file beside it."),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="The network that the recipe was made from: a name from `brpnas models list`, "
            "package.module:function, a .pt2 file, or a name of timm."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make; it may be there if it is empty.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Its trained weights: .safetensors.",
            show_default="those that come with the network",
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            help="What to write, with commas between: pt2, tflite, tflite-int8, onnx.",
            show_default="those of pt2, tflite and onnx that can be made",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Images to check the files with, and for the ranges of tflite-int8: .npz, "
            ".parquet or a folder.",
            show_default="noise",
        ),
    ] = None,
    normalisation: Annotated[
        str | None,
        typer.Option(
            help="What the network expects of --calibration: imagenet, cifar10, none, or means "
            "and deviations such as 0.5,0.5,0.5/0.25,0.25,0.25.",
            show_default="that of the network",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build, check and export a network that a search compressed.

    Writes the recipe and the network's weights, and the network as a program for PyTorch, TFLite
    and ONNX. Each file is run, and compared with the network.
    """
    from brpnas.exporting import export_compressed
    from brpnas.lowrank import read_recipe
    from brpnas.models import load_model

    if calibration is None:
        refuse(ctx, "normalisation", "--calibration")
    chosen = read_recipe(recipe)
    loaded = load_model(model, weights)
    images = None if calibration is None else _images(loaded, calibration, normalisation)
    wanted = None if formats is None else [one.strip() for one in formats.split(",")]
    with contextlib.redirect_stdout(sys.stderr):  # what a user's own module prints
        done = export_compressed(loaded, chosen, out, wanted, images)
    for name, why in done.left_out.items():
        note(f"without {name}: {why}")
    if as_json:
        print_json(_facts(out, done))
    else:
        _show(model, out, done)


def _images(model: LoadedModel, path: Path, normalisation: str | None) -> Tensor:
    from brpnas.images import parse_normalisation

    images = model.read_images(path, labels=False).sample(_IMAGES, seed=0)
    known = model.normalisation if normalisation is None else parse_normalisation(normalisation)
    return images.tensor(known)


def _facts(out: Path, done: Exported) -> dict[str, Any]:
    replaced = {
        name: {"choice": str(one.choice), "macs": one.macs, "params": one.params}
        for name, one in done.report.replaced.items()
    }
    return {
        "out": str(out),
        "macs": done.macs,
        "params": done.params,
        "replaced": replaced,
        "left": dict(done.report.left),
        "files": {name: str(path) for name, path in done.files.items()},
        "bytes": {name: path.stat().st_size for name, path in done.files.items()},
        "checked": {name: asdict(one) for name, one in done.checked.items()},
        "left_out": dict(done.left_out),
    }


def _show(model: str, out: Path, done: Exported) -> None:
    layers = [
        (name, one.choice, *_change(one.macs), *_change(one.params))
        for name, one in done.report.replaced.items()
    ]
    total = ("the network", "", *_change(done.macs), *_change(done.params))
    changes = ("layer", "becomes", "macs", "%", "parameters", "%")
    show(f"{model}, compressed", changes, [*layers, total])
    for name, why in done.report.left.items():
        if why != "no pair was chosen":
            note(left_line(name, why))
    files = []
    for name, path in done.files.items():
        one = done.checked.get(name)
        differs = (None, None) if one is None else (one.max_difference, _same(one))
        files.append((name, path, path.stat().st_size, *differs))
    columns = ("what", "file", "bytes", "scores differ by up to", "same class")
    show(str(out), columns, files)


def _change(numbers: tuple[int, int]) -> tuple[str, str]:
    before, after = numbers
    return f"{before:,} -> {after:,}", f"{100 * (after / before - 1):+.1f}"


def _same(one: Any) -> str:  # noqa: ANN401 - a Checked, which is slow to import
    return f"{one.same_class} of {one.inputs}"
