"""Programs of ``torch.export``."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from brpnas.errors import UserError, one_line
from brpnas.exporting.format import Subject
from brpnas.foreign import read_exported
from brpnas.quiet import quiet

__all__ = ["PT2"]


class PT2:
    """A ``.pt2`` file."""

    file = "model.pt2"
    exact = True

    def write(self, subject: Subject) -> bytes:
        """Export the network; the sizes are fixed, so that it can be read without running code."""
        content = io.BytesIO()
        example = torch.zeros_like(subject.inputs[:1])  # the file holds it: no image of the user's
        try:
            with quiet():
                program = torch.export.export(subject.module, (example,))
                for node in program.graph.nodes:
                    # Paths and lines of the user's source are nobody else's business.
                    node.meta.pop("stack_trace", None)
                torch.export.save(program, content)
        except Exception as error:
            raise UserError(
                f"model '{subject.name}': torch cannot export it: {one_line(error)}"
            ) from error
        return content.getvalue()

    def scores(self, content: bytes, inputs: Tensor) -> Tensor:
        """Read and run the program."""
        module = read_exported(content, self.file).module()
        with torch.no_grad():
            return torch.cat([module(one) for one in torch.split(inputs, 1)])
