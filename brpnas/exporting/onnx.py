"""ONNX files: torch writes them, and ONNX's own reference runs them."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from brpnas.errors import UserError, extra_hint, one_line
from brpnas.exporting.format import Subject
from brpnas.quiet import quiet

__all__ = ["ONNX"]


class ONNX:
    """An ``.onnx`` file."""

    file = "model.onnx"
    exact = True

    def write(self, subject: Subject) -> bytes:
        """Export the network, weights included."""
        for package in ("onnx", "onnxscript"):
            _package(package)
        try:
            with quiet():
                program: Any = torch.onnx.export(
                    subject.module, (subject.inputs[:1],), dynamo=True, verbose=False
                )
            proto = program.model_proto
            for node in (*proto.graph.node, *(n for f in proto.functions for n in f.node)):
                # Paths and lines of the user's source are nobody else's business.
                del node.metadata_props[:]
            content: bytes = proto.SerializeToString()
        except Exception as error:
            raise UserError(
                f"model '{subject.name}': torch cannot export it to ONNX: {one_line(error)}"
            ) from error
        return content

    def scores(self, content: bytes, inputs: Tensor) -> Tensor:
        """Run the file's one input to its one output."""
        evaluator = _package("onnx.reference").ReferenceEvaluator(content)
        (name,) = evaluator.input_names
        return torch.cat(
            [
                torch.from_numpy(evaluator.run(None, {name: x.numpy()})[0])
                for x in torch.split(inputs, 1)
            ]
        )


def _package(name: str) -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"ONNX files need the package '{error.name}': {extra_hint('onnx')}"
        ) from error
