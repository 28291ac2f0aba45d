"""A network as a runtime loads it: the noun TFLiteModel."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

__all__ = ["TFLiteModel"]


@dataclass(frozen=True, eq=False)
class TFLiteModel:
    """A TFLite flatbuffer and where it comes from.

    Attributes:
        name: what tables and errors call it: an architecture's text or a file's name. It never
            becomes a file's name or part of a command.
        content: the flatbuffer.
        maker: the program that wrote it, such as ``"brpnas 0.1.0"`` or ``"litert-torch 0.10.0"``;
            ``"file"`` for a file of the user's.
    """

    name: str
    content: bytes
    maker: str

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()
