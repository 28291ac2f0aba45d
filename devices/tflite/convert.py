"""From torch to TFLite: by the project's own writer, or by litert-torch."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

import torch
from torch import Tensor, nn

from brpnas.devices.tflite.graph import UnsupportedError
from brpnas.devices.tflite.model import TFLiteModel
from brpnas.devices.tflite.writer import write
from brpnas.errors import UserError, extra_hint, one_line, unknown_name
from brpnas.evaluating import evaluating
from brpnas.foreign import read_exported
from brpnas.quiet import quiet

__all__ = ["CONVERTERS", "convert", "convert_exported"]

CONVERTERS = ("auto", "brpnas", "litert-torch")
"""``auto`` is the project's own writer, and litert-torch for layers that it does not know."""


def convert(
    module: nn.Module, example_input: Tensor, name: str, converter: str = "auto"
) -> TFLiteModel:
    """Convert a torch module in evaluation mode; the module is left as it was.

    Input and output keep the shapes that they have in torch: images are (batch, channels, height,
    width). The own writer takes milliseconds and knows convolutional networks; litert-torch takes
    seconds and knows nearly all. The maker of the model tells which of them it was.

    Args:
        module: maps one tensor to one tensor.
        example_input: float32; gives the shape.
        name: of the model, for tables and errors.
        converter: one of CONVERTERS.

    Raises:
        UserError: the example is empty, the module fails on it, or cannot be converted, and by
            what it could be.
    """
    if converter not in CONVERTERS:
        raise unknown_name("converter", converter, CONVERTERS)
    if not example_input.numel():
        shape = tuple(example_input.shape)
        raise UserError(f"model '{name}': its example input of shape {shape} is empty")
    unsupported: UnsupportedError | None = None
    if converter != "litert-torch":
        try:
            return write(module, example_input, name)
        except UnsupportedError as error:
            unsupported = error
    with evaluating(module):
        _run_once(module, example_input, name)  # its own fault is no converter's
        if converter == "brpnas":
            hint = "converter 'litert-torch' may know it"
            raise UnsupportedError(f"{unsupported} ({hint})") from unsupported
        unknown = f" ({unsupported})" if unsupported else ""
        return _by_litert_torch(module, (example_input,), name, unknown)


def convert_exported(content: bytes, name: str) -> TFLiteModel:
    """Convert an exported torch program (``.pt2``) with litert-torch.

    Nothing in the file is run: pickled objects other than tensors are refused, and so are
    symbolic shapes, which torch would evaluate as Python expressions.

    Args:
        content: of the file.
        name: of the model, for tables and errors.

    Raises:
        UserError: the content is no exported program, it has dynamic shapes, it does not name
            example inputs, or it cannot be converted.
    """
    with quiet():
        program = read_exported(content, name)
    inputs, named = program.example_inputs or ((), {})
    if not inputs or named:
        raise UserError(
            f"{name}: needs example inputs, all of them positional; export it with them"
        )
    return _by_litert_torch(program.module(), inputs, name, "")


def _by_litert_torch(
    module: nn.Module, inputs: tuple[Any, ...], name: str, unknown: str
) -> TFLiteModel:
    try:
        with quiet():
            converter = importlib.import_module("litert_torch")
    except ModuleNotFoundError as error:
        raise UserError(
            f"model '{name}' needs litert-torch{unknown}: {extra_hint('convert')}"
        ) from error
    try:
        with quiet():
            content = bytes(converter.convert(module, inputs).model_content())
    except Exception as error:
        raise UserError(
            f"model '{name}': litert-torch cannot convert it: {one_line(error)}{unknown}"
        ) from error
    return TFLiteModel(name, content, f"litert-torch {importlib.metadata.version('litert-torch')}")


def _run_once(module: nn.Module, example_input: Tensor, name: str) -> None:
    try:
        with torch.no_grad():
            module(example_input)
    except Exception as error:
        raise UserError(
            f"model '{name}' fails on its example input of shape {tuple(example_input.shape)}: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
