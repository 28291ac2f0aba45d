"""Networks as TFLite flatbuffers: made from torch modules, read, and quantised."""

from brpnas.devices.tflite.convert import convert
from brpnas.devices.tflite.model import TFLiteModel
from brpnas.devices.tflite.quantise import quantise

__all__ = ["TFLiteModel", "convert", "quantise"]
