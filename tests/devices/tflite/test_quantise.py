from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brpnas.devices.tflite import TFLiteModel, quantise
from brpnas.devices.tflite.inspect import facts
from brpnas.devices.tflite.writer import write
from brpnas.errors import UserError

pytest.importorskip("ai_edge_quantizer", reason="needs the extra 'measure'")


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    ).eval()


def test_int8_is_near_float(run: Callable[[bytes, Tensor], NDArray[Any]]) -> None:
    module, x = _network(), torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    model = quantise(write(module, x, "net"), [x.numpy()])
    assert model.name == "net"
    assert model.maker.startswith("brpnas ")
    assert "ai-edge-quantizer" in model.maker
    seen = facts(model.content, "net")
    assert [one.dtype for one in (*seen.inputs, *seen.outputs)] == ["INT8", "INT8"]
    assert seen.quantised
    scale = float(x.abs().max()) / 127
    written = run(model.content, (x / scale).round().clamp(-127, 127).to(torch.int8)).astype(float)
    with torch.no_grad():
        expected = module(x).numpy()
    # Its scale is unknown here; int8 keeps proportions to about a hundredth.
    assert np.corrcoef(written.ravel(), expected.ravel())[0, 1] > 0.99


def test_without_calibration_it_is_the_same_every_time(capfd: pytest.CaptureFixture[str]) -> None:
    wide = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))
    model = write(wide, torch.zeros(1, 3, 16, 16), "net")
    first, second = quantise(model), quantise(model)
    assert first.content == second.content
    assert len(first.content) < 0.4 * len(model.content)
    assert capfd.readouterr() == ("", "")


def test_a_quantised_model_is_refused() -> None:
    model = quantise(write(_network(), torch.zeros(1, 3, 16, 16), "net"))
    with pytest.raises(UserError, match=r"'net' is quantised already .* --precision fp32"):
        quantise(model)


def test_calibration_that_does_not_fit() -> None:
    model = write(_network(), torch.zeros(1, 3, 16, 16), "net")
    with pytest.raises(UserError, match=r"\(1, 3, 8, 8\) for model 'net', which takes float32 \(1"):
        quantise(model, [np.zeros((1, 3, 8, 8), np.float32)])
    with pytest.raises(UserError, match="calibration input of float64"):
        quantise(model, [np.zeros((1, 3, 16, 16))])  # type: ignore[list-item]


def test_a_damaged_model_is_refused() -> None:
    with pytest.raises(UserError, match="'net' is no TFLite file"):
        quantise(TFLiteModel("net", b"garbage", "file"))
