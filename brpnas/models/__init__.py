"""Trained networks: those the package can build, and those that users bring."""

from brpnas.models.attention import open_attention
from brpnas.models.builtin import BUILTIN, Builtin
from brpnas.models.load import load_model
from brpnas.models.loaded import LoadedModel
from brpnas.models.weights import read_metadata, read_weights

__all__ = [
    "BUILTIN",
    "Builtin",
    "LoadedModel",
    "load_model",
    "open_attention",
    "read_metadata",
    "read_weights",
]
