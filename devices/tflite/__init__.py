"""Networks as TFLite flatbuffers: made from torch modules, read, and quantised."""

from brpnas.devices.tflite.convert import CONVERTERS, convert, convert_exported
from brpnas.devices.tflite.graph import UnsupportedError
from brpnas.devices.tflite.inspect import Facts, TensorFacts, check, facts
from brpnas.devices.tflite.model import TFLiteModel
from brpnas.devices.tflite.quantise import quantise
from brpnas.devices.tflite.sources import (
    PRECISIONS,
    ExportedModel,
    FileModel,
    FunctionModel,
    ModelSource,
    SpaceModel,
)

__all__ = [
    "CONVERTERS",
    "PRECISIONS",
    "ExportedModel",
    "Facts",
    "FileModel",
    "FunctionModel",
    "ModelSource",
    "SpaceModel",
    "TFLiteModel",
    "TensorFacts",
    "UnsupportedError",
    "check",
    "convert",
    "convert_exported",
    "facts",
    "quantise",
]
