from __future__ import annotations

import importlib
import importlib.util
import io
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brpnas.devices.tflite import convert
from brpnas.devices.tflite.convert import convert_exported
from brpnas.devices.tflite.graph import UnsupportedError
from brpnas.devices.tflite.inspect import check
from brpnas.errors import UserError
from brpnas.spaces import NASBench101, NASBench201, NetworkShape

SPACE = NASBench201()
Run = Callable[[bytes, Tensor], NDArray[Any]]
Operators = Callable[[bytes], list[str]]
Randomise = Callable[[nn.Module], nn.Module]

installed = importlib.util.find_spec("litert_torch") is not None
needs_litert_torch = pytest.mark.skipif(not installed, reason="needs the extra 'convert'")
X = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
UNKNOWN = nn.Sequential(nn.Conv2d(4, 8, 1), nn.PixelShuffle(2))
"""Has a layer that the own writer does not know."""


def _stand_in(monkeypatch: pytest.MonkeyPatch, result: Callable[[nn.Module], bytes]) -> None:
    """Put a module in litert-torch's place that gives this content."""

    def convert(module: nn.Module, inputs: tuple[Tensor, ...]) -> types.SimpleNamespace:
        print("noise")  # noqa: T201 - as it does
        assert not module.training
        assert torch.equal(inputs[0], X)
        content = result(module)
        return types.SimpleNamespace(model_content=lambda: content)

    module = types.ModuleType("litert_torch")
    vars(module)["convert"] = convert
    monkeypatch.setitem(sys.modules, "litert_torch", module)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")


def test_auto_takes_the_own_writer_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, lambda _: b"other")
    assert convert(nn.Conv2d(4, 8, 3), X, "net").maker.startswith("brpnas ")


def test_auto_falls_back_and_tells(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _stand_in(monkeypatch, lambda _: b"other")
    module = UNKNOWN.train()
    model = convert(module, X, "net")
    assert (model.name, model.content, model.maker) == ("net", b"other", "litert-torch 0.0")
    assert module.training
    assert capfd.readouterr() == ("", "")


def test_the_other_converter_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, lambda _: b"other")
    assert convert(nn.ReLU(), X, "net", "litert-torch").content == b"other"


def test_an_empty_example_is_refused() -> None:
    with pytest.raises(UserError, match=r"input of shape \(0, 3, 8, 8\) is empty"):
        convert(nn.Conv2d(3, 4, 3), torch.zeros(0, 3, 8, 8), "net")


def test_its_failure_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: nn.Module) -> bytes:
        raise RuntimeError("first line\n" + "many more\n" * 1000)

    _stand_in(monkeypatch, fail)
    with pytest.raises(UserError, match="'net': litert-torch cannot convert it: first line") as one:
        convert(UNKNOWN, X, "net")
    assert "PixelShuffle" in str(one.value)
    assert "\n" not in str(one.value)
    assert len(str(one.value)) < 600


def test_without_litert_torch_the_error_names_layer_and_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    for converter in ("auto", "litert-torch"):
        with pytest.raises(UserError, match="install brpnas with its extra 'convert'") as one:
            convert(UNKNOWN, X, "net", converter)
        assert ("'1', a PixelShuffle" in str(one.value)) == (converter == "auto")


def test_the_own_writer_alone_names_the_layer() -> None:
    with pytest.raises(
        UnsupportedError, match=r"'1', a PixelShuffle.*converter 'litert-torch' may"
    ):
        convert(UNKNOWN, X, "net", "brpnas")


@pytest.mark.parametrize("converter", ["auto", "brpnas", "litert-torch"])
def test_a_module_that_fails_by_itself_is_no_matter_of_converters(converter: str) -> None:
    with pytest.raises(UserError, match=r"'net' fails on its example input of .*: mat1 and") as one:
        convert(nn.Linear(5, 5), X, "net", converter)
    assert "litert-torch" not in str(one.value)


def test_unknown_converter() -> None:
    with pytest.raises(UserError, match="Choices: auto, brpnas, litert-torch"):
        convert(nn.ReLU(), X, "net", "litert")


def test_missing_extra_of_the_own_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    with pytest.raises(UserError, match="install brpnas with its extra 'measure'"):
        convert(nn.ReLU(), X, "net", "brpnas")


# Exported programs


def _exported(dynamic: bool = False) -> bytes:
    example = torch.randn(2, 4, 6, 6)
    shapes = ({0: torch.export.Dim("batch", min=1, max=8)},) if dynamic else None
    program = torch.export.export(nn.Conv2d(4, 8, 3).eval(), (example,), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def test_dynamic_shapes_are_refused() -> None:
    with pytest.raises(UserError, match=r"a\.pt2: has dynamic shapes; export it without"):
        convert_exported(_exported(dynamic=True), "a.pt2")


def test_files_that_are_no_programs() -> None:
    with pytest.raises(UserError, match=r"b\.pt2: no exported torch program"):
        convert_exported(b"garbage", "b.pt2")
    file = io.BytesIO()
    torch.save({"weights": torch.zeros(3)}, file)
    with pytest.raises(UserError, match=r"c\.pt2: no exported torch program"):
        convert_exported(file.getvalue(), "c.pt2")
    content = _exported()
    with pytest.raises(UserError, match=r"d\.pt2: "):
        convert_exported(content[: len(content) // 2], "d.pt2")


def test_a_program_reaches_the_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(module: nn.Module, inputs: tuple[Tensor, ...]) -> types.SimpleNamespace:
        content = bytes(str(tuple(module(*inputs).shape)), "ascii")
        return types.SimpleNamespace(model_content=lambda: content)

    module = types.ModuleType("litert_torch")
    vars(module)["convert"] = convert
    monkeypatch.setitem(sys.modules, "litert_torch", module)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    model = convert_exported(_exported(), "a.pt2")
    assert (model.name, model.content) == ("a.pt2", b"(2, 8, 4, 4)")


# Beside litert-torch

CELLS = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|nor_conv_1x1~2|",
    "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|",
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|",
    "|nor_conv_1x1~0|+|avg_pool_3x3~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|",
)


class _Parts(nn.Module):
    """Gates half of the channels by the others, inside of a border."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)[..., 1:-1, 2:7]
        return torch.relu(x.narrow(1, 0, 4)) * torch.sigmoid(x[:, 4:])


SLICED_CELLS = ("1491093:10211", "1458293:00120", "23181:1222")
"""Of nasbench101: with 8 channels, some vertices read the first channels of another."""
OTHERS = {
    "stem": nn.Sequential(
        *(
            nn.Conv2d(4, 8, 7, 2, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ),
        *(nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    ),
    "flattened": nn.Sequential(
        *(nn.Conv2d(4, 8, 3, padding=1, groups=2), nn.Hardswish(), nn.AvgPool2d(3, 2, 1)),
        *(nn.SiLU(), nn.Flatten(), nn.Linear(8 * 16, 10)),
    ),
    "parts": _Parts(),
}


def _compare(module: nn.Module, x: Tensor, run: Run, operators: Operators) -> None:
    own, other = (convert(module, x, "net", name) for name in ("brpnas", "litert-torch"))
    assert sorted(operators(own.content)) == sorted(operators(other.content))
    assert check(own.content, "own").inputs[0].shape == check(other.content, "o").inputs[0].shape
    expected = run(other.content, x)
    error = np.abs(run(own.content, x) - expected).max() / np.abs(expected).max()
    assert error < 1e-6


@needs_litert_torch
@pytest.mark.parametrize("arch", CELLS)
def test_cells_as_litert_torch(arch: str, run: Run, operators: Operators) -> None:
    # Fresh batch-norms: of one that has no convolution before it litert-torch writes each step.
    module = SPACE.build(SPACE.parse(arch), NetworkShape(cells_per_stage=1))
    _compare(module, torch.randn(1, 3, 32, 32), run, operators)


@needs_litert_torch
@pytest.mark.parametrize("arch", SLICED_CELLS)
def test_cells_that_keep_some_channels_as_litert_torch(
    arch: str, run: Run, operators: Operators, randomise: Randomise
) -> None:
    space, shape = NASBench101(), NetworkShape(8, cells_per_stage=1, input_size=8)
    module, x = randomise(space.build(space.parse(arch), shape)), torch.randn(1, 3, 8, 8)
    assert "SLICE" in operators(convert(module, x, arch, "brpnas").content)
    _compare(module, x, run, operators)


@needs_litert_torch
@pytest.mark.parametrize("name", OTHERS)
def test_others_as_litert_torch(
    name: str, run: Run, operators: Operators, randomise: Randomise
) -> None:
    size = 32 if name == "stem" else 8
    _compare(randomise(OTHERS[name]), torch.randn(1, 4, size, size), run, operators)


@needs_litert_torch
def test_a_layer_that_only_litert_torch_knows(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    model = convert(UNKNOWN, X, "net")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert model.maker.startswith("litert-torch 0.")
    expected = UNKNOWN.eval()(X).detach().numpy()
    assert np.allclose(run(model.content, X), expected, atol=1e-5)


@needs_litert_torch
def test_an_exported_program() -> None:
    model = convert_exported(_exported(), "a.pt2")
    assert check(model.content, "a").outputs[0].shape == (2, 8, 4, 4)
