"""Trained networks: those the package can build, and those that users bring."""

from brpnas.models.builtin import BUILTIN, Builtin
from brpnas.models.load import load_model
from brpnas.models.loaded import LoadedModel
from brpnas.models.weights import read_metadata, read_weights

__all__ = ["BUILTIN", "Builtin", "LoadedModel", "load_model", "read_metadata", "read_weights"]
