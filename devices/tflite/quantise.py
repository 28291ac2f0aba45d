"""int8 versions of TFLite models, by ai-edge-quantizer."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.tflite.inspect import facts
from brpnas.devices.tflite.model import TFLiteModel
from brpnas.errors import UserError, extra_hint, one_line
from brpnas.quiet import quiet

__all__ = ["quantise"]

_EXAMPLES = 4
"""Random inputs where none are given; their values only set scales, not what is computed."""


def quantise(
    model: TFLiteModel, calibration: Sequence[NDArray[np.float32]] | None = None
) -> TFLiteModel:
    """Quantise weights and activations to int8 (static quantisation).

    Input and output become int8 too, as accelerators want them. Without calibration inputs the
    ranges come from random-normal ones with a fixed seed: good for latency, not for accuracy.

    Args:
        model: in float32, with one input.
        calibration: inputs such as the model will see, each of its input's shape.

    Returns:
        A model of the same name; its maker names both programs.

    Raises:
        UserError: the model is quantised already, has no signature or several inputs, the
            calibration does not fit it, or the extra ``measure`` is missing.
    """
    seen = facts(model.content, model.name)
    kinds = {tensor.dtype for tensor in (*seen.inputs, *seen.outputs)}
    if seen.quantised or kinds != {"FLOAT32"}:
        raise UserError(
            f"model '{model.name}' is quantised already or has {', '.join(sorted(kinds))} ends; "
            "only a float32 model can become int8: use --precision fp32, or its float32 version"
        )
    if len(seen.inputs) != 1 or seen.signature is None:
        raise UserError(
            f"model '{model.name}' has {len(seen.inputs)} inputs and "
            f"{'no' if seen.signature is None else 'a'} signature; int8 needs one of each"
        )
    shape = seen.inputs[0].shape
    if calibration is None:
        rng = np.random.default_rng(0)
        calibration = [rng.standard_normal(shape, np.float32) for _ in range(_EXAMPLES)]
    for example in calibration:
        if example.shape != shape or example.dtype != np.float32:
            raise UserError(
                f"calibration input of {example.dtype} {example.shape} for model '{model.name}', "
                f"which takes float32 {shape}"
            )
    key, name = seen.signature
    try:
        with quiet():
            quantizer = importlib.import_module("ai_edge_quantizer.quantizer")
            recipe = importlib.import_module("ai_edge_quantizer.recipe").static_wi8_ai8()
    except ModuleNotFoundError as error:
        raise UserError(
            f"int8 needs the package 'ai-edge-quantizer': {extra_hint('measure')}"
        ) from error
    try:
        with quiet():
            work: Any = quantizer.Quantizer(model.content, quantization_recipe=recipe)
            ranges = _ranges(work, key, [{name: one} for one in calibration])
            done = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    except Exception as error:
        raise UserError(f"model '{model.name}' cannot become int8: {one_line(error)}") from error
    version = importlib.metadata.version("ai-edge-quantizer")
    maker = f"{model.maker}, ai-edge-quantizer {version}"
    return TFLiteModel(model.name, bytes(done.quantized_model), maker)


def _ranges(work: Any, key: str, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401 - untyped
    """Return the least and greatest values of every tensor over all examples.

    The quantizer averages the ranges of several examples, so that larger values saturate.
    """
    ranges: dict[str, Any] = {}
    for example in examples:
        for tensor, seen in work.calibrate({key: [example]}, num_threads=1).items():
            known = ranges.setdefault(tensor, dict(seen))
            for end, wider in (("min", np.minimum), ("max", np.maximum)):
                if end in seen:
                    known[end] = wider(known[end], seen[end])
    return ranges
