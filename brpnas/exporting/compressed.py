"""From a recipe and the network that it was made for to a folder of files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brpnas.errors import UserError, unknown_name
from brpnas.exporting.folder import whole_folder
from brpnas.exporting.format import Checked, Format, Subject, check
from brpnas.exporting.onnx import ONNX
from brpnas.exporting.pt2 import PT2
from brpnas.exporting.tflite import TFLite
from brpnas.foreign import users_code
from brpnas.lowrank import Recipe, Report, apply_recipe, find_layers, save_recipe
from brpnas.lowrank.counting import count_macs
from brpnas.models import LoadedModel

__all__ = ["DEFAULT_FORMATS", "FORMATS", "Exported", "export_compressed"]

FORMATS: dict[str, Format] = {
    "pt2": PT2(),
    "tflite": TFLite(),
    "tflite-int8": TFLite(int8=True),
    "onnx": ONNX(),
}
"""By the name that users type."""
DEFAULT_FORMATS = ("pt2", "tflite", "onnx")

_NOISE = 8


@dataclass(frozen=True)
class Exported:
    """What became of a recipe.

    Attributes:
        report: what was replaced by what, and what was left as it was, and why.
        macs: multiply-accumulates of convolutions and matrix products for one image, of the
            network and of the compressed one.
        params: parameters of both.
        files: by format; ``recipe`` and ``weights`` too.
        checked: by format.
        left_out: why a format was left out, by its name.
    """

    report: Report
    macs: tuple[int, int]
    params: tuple[int, int]
    files: Mapping[str, Path]
    checked: Mapping[str, Checked]
    left_out: Mapping[str, str]


def export_compressed(
    model: LoadedModel,
    recipe: Recipe,
    out: Path,
    formats: Sequence[str] | None = None,
    images: Tensor | None = None,
) -> Exported:
    """Build the network of a recipe and write it into a folder, each file checked by running it.

    Args:
        model: the network that the recipe was made from.
        recipe: of it.
        out: a folder that does not exist, or is empty; nothing is in it after an error.
        formats: names of FORMATS, each of which has to succeed; without them those of
            DEFAULT_FORMATS that can be made.
        images: to check the files with, and for the ranges of int8: shape (n, channels, height,
            width), float32, normalised; without them noise.

    Raises:
        UserError: an unknown format, or one that cannot be made; a recipe of another network;
            images that the network does not take; a folder that cannot be written.
    """
    for name in formats or ():
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    inputs = _noise(model) if images is None else images
    subject = Subject(model.name, model.module, inputs, images is not None)
    compressed, report = apply_recipe(
        recipe, model.module, find_layers(model.module, subject.inputs[:1])
    )
    smaller = dataclasses.replace(subject, module=compressed)
    _check_scores(smaller)
    with whole_folder(out) as folder:
        kept = folder / "recipe.json"
        save_recipe(kept, model.module, compressed, report, recipe.method, recipe.source)
        files = {"recipe": kept, "weights": kept.with_suffix(".safetensors")}
        checked: dict[str, Checked] = {}
        left_out: dict[str, str] = {}
        for name in DEFAULT_FORMATS if formats is None else formats:
            form = FORMATS[name]
            try:
                content = form.write(smaller)
                checked[name] = check(form, content, smaller)
            except UserError as error:
                if formats is not None:
                    raise
                left_out[name] = str(error)
                continue
            files[name] = folder / form.file
            files[name].write_bytes(content)
    modules = (model.module, compressed)
    before, after = (count_macs(one, subject.inputs[:1]) for one in modules)
    params = [sum(weights.numel() for weights in one.parameters()) for one in modules]
    moved = {name: out / path.name for name, path in files.items()}
    return Exported(report, (before, after), (params[0], params[1]), moved, checked, left_out)


def _noise(model: LoadedModel) -> Tensor:
    if model.image_shape is None:
        raise UserError(
            f"model '{model.name}' does not say which images it takes: give --calibration IMAGES, "
            "or let its function return an example too"
        )
    return torch.randn(_NOISE, *model.image_shape, generator=torch.Generator().manual_seed(0))


def _check_scores(subject: Subject) -> None:
    """See to it that the network returns scores; one without a known input was never tried."""
    with users_code(f"model '{subject.name}' fails, compressed"), torch.no_grad():
        scores = subject.module(subject.inputs)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(subject.inputs):
        raise UserError(f"model '{subject.name}' returns no scores of shape (images, classes)")
    if not bool(torch.isfinite(scores).all()):
        raise UserError(f"model '{subject.name}', compressed, returns NaN or infinity")
