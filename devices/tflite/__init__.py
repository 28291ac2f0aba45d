"""Networks as TFLite flatbuffers: made from torch modules, read, and quantised."""

from brpnas.devices.tflite.model import TFLiteModel

__all__ = ["TFLiteModel"]
