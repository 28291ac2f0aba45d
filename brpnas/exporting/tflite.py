"""TFLite files, in float32 and int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brpnas.devices.runtime import find_runtime
from brpnas.devices.tflite import convert, quantise
from brpnas.errors import UserError
from brpnas.exporting.format import Subject

__all__ = ["TFLite"]


@dataclass(frozen=True)
class TFLite:
    """A ``.tflite`` file, by the project's own writer, or litert-torch where that cannot.

    Attributes:
        int8: whether weights, activations and both ends are quantised.
    """

    int8: bool = False

    @property
    def file(self) -> str:
        """Name of the file."""
        return "model-int8.tflite" if self.int8 else "model.tflite"

    @property
    def exact(self) -> bool:
        """Not if it is quantised."""
        return not self.int8

    def write(self, subject: Subject) -> bytes:
        """Convert the network, and quantise it by the range that each value has on the inputs."""
        if self.int8 and not subject.natural:
            raise UserError(
                "tflite-int8 needs --calibration IMAGES: the ranges that are quantised are those "
                "of images"
            )
        model = convert(subject.module, subject.inputs[:1], subject.name)
        if self.int8:
            model = quantise(model, [one.numpy() for one in torch.split(subject.inputs, 1)])
        return model.content

    def scores(self, content: bytes, inputs: Tensor) -> Tensor:
        """Run the file with this machine's TFLite runtime."""
        interpreter = find_runtime().load(content, 1)
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        scores = []
        for one in torch.split(inputs, 1):
            interpreter.set_tensor(taken["index"], _stored(one.numpy(), taken))
            interpreter.invoke()
            scores.append(_real(interpreter.get_tensor(given["index"]), given))
        return torch.from_numpy(np.concatenate(scores))


def _stored(values: NDArray[np.float32], tensor: Mapping[str, Any]) -> NDArray[Any]:
    """Return values as a tensor stores them: integers times a scale, if it is quantised."""
    scale, zero = tensor["quantization"]
    if not scale:
        return values
    limits = np.iinfo(tensor["dtype"])
    stored = np.clip(np.round(values / scale) + zero, limits.min, limits.max)
    integers: NDArray[Any] = stored.astype(tensor["dtype"])
    return integers


def _real(stored: NDArray[Any], tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    scale, zero = tensor["quantization"]
    values = stored.astype(np.float32)
    return values if not scale else (values - zero) * np.float32(scale)
