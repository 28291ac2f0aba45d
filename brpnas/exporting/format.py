"""What a kind of file has to do, and whether a file computes what its network does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from brpnas.errors import UserError, one_line

__all__ = ["Checked", "Format", "Subject", "check"]

_INPUTS = 8
_TOLERANCE = 1e-3
"""Of the greatest score; rounding in another order of sums stays a hundred times below."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to be written, and what to try it on.

    Attributes:
        name: for errors.
        module: takes a batch of images, returns scores (batch, classes); in evaluation mode.
        inputs: shape (n, channels, height, width), float32, normalised.
        natural: whether the inputs are images, not noise.
    """

    name: str
    module: nn.Module
    inputs: Tensor
    natural: bool


class Format(Protocol):
    """A kind of file, for one image at a time."""

    @property
    def file(self) -> str:
        """Name of the file."""
        ...

    @property
    def exact(self) -> bool:
        """Whether it computes in float32, so that its scores have to be the network's."""
        ...

    def write(self, subject: Subject) -> bytes:
        """Return the file's content.

        Raises:
            UserError: the network cannot be written so, and why; or a package is missing.
        """
        ...

    def scores(self, content: bytes, inputs: Tensor) -> Tensor:
        """Run a file: return the scores of each input, shape (n, classes).

        Raises:
            UserError: a package is missing.
        """
        ...


@dataclass(frozen=True)
class Checked:
    """How a file's scores compare with those of the network.

    Attributes:
        inputs: on which both were run.
        max_difference: the greatest, of any score.
        same_class: inputs to which both give the same class.
    """

    inputs: int
    max_difference: float
    same_class: int


def check(form: Format, content: bytes, subject: Subject) -> Checked:
    """Run a file and its network on the same inputs.

    Raises:
        UserError: the file does not run, or has other scores though it should not.
    """
    inputs = subject.inputs[:_INPUTS]
    with torch.no_grad():
        expected = subject.module(inputs)
    try:
        scores = form.scores(content, inputs)
    except UserError:
        raise
    except Exception as error:  # of whatever runs it
        raise UserError(
            f"model '{subject.name}': {form.file} was made, but does not run ({one_line(error)})"
        ) from error
    difference = float((scores - expected).abs().max())
    limit = _TOLERANCE * max(1.0, float(expected.abs().max()))
    if form.exact and not difference <= limit:
        raise UserError(
            f"model '{subject.name}': {form.file} has scores that differ from the network's by "
            f"{difference:.3g}; accepted: {limit:.3g}"
        )
    same = int((scores.argmax(1) == expected.argmax(1)).sum())
    return Checked(len(inputs), difference, same)
