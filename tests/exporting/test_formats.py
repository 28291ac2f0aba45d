"""Every family of choices, in every format, as far as the packages are installed."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import brpnas
from brpnas.errors import UserError
from brpnas.exporting.compressed import FORMATS
from brpnas.exporting.format import Checked, Subject, check
from brpnas.foreign import read_exported
from brpnas.lowrank import apply_recipe, find_layers, read_recipe
from brpnas.models import LoadedModel, load_model

NETWORKS = {
    "digits-cnn": {
        "features.0": "separable:r2",
        "features.3": "input:g4:r3+output:g2:r5",
        "features.6": "output:g1:r9",
        "linear": "plain:r5",
    },
    "resnet20-cifar": {
        "layer1.0.conv1": "separable:r9",
        "layer1.1.conv2": "input:g4:r5",
        "layer2.0.conv2": "output:g8:r2",
        "layer3.0.conv1": "output:g1:r30",
        "layer3.2.conv2": "input:g1:r20+separable:r4",
        "linear": "plain:r6",
    },
    "vit6x128-cifar": {
        "p": "output:g2:r3",
        "b.0.a.q": "rows:g3:r90",
        "b.1.a.q": "plain:r40+rows:g3:r20",
        "b.2.f1": "plain:r30",
        "hd": "plain:r5",
    },
}
WEIGHTS = {
    "resnet20-cifar": "resnet20_cifar10_akamaster.safetensors",
    "vit6x128-cifar": "vit6x128_cifar10.safetensors",
}
Recipes = Callable[..., Path]

no_onnx = importlib.util.find_spec("onnxscript") is None
needs_onnx = pytest.mark.skipif(no_onnx, reason="onnxscript is not installed: extra 'onnx'")
formats = pytest.mark.parametrize("form", ["pt2", "tflite", pytest.param("onnx", marks=needs_onnx)])


def compressed(model: LoadedModel, path: Path, count: int = 4) -> Subject:
    assert model.image_shape is not None
    inputs = torch.randn(count, *model.image_shape, generator=torch.Generator().manual_seed(0))
    layers = find_layers(model.module, inputs[:1])
    module, _ = apply_recipe(read_recipe(path), model.module, layers)
    return Subject(model.name, module, inputs, False)


@formats
@pytest.mark.parametrize("name", NETWORKS)
def test_files_compute_what_the_compressed_network_does(
    shared: Path, written: Recipes, name: str, form: str
) -> None:
    if (name, form) == ("vit6x128-cifar", "tflite"):
        pytest.importorskip("litert_torch")  # attention is beyond the project's own writer
    weights = shared / "weights" / WEIGHTS[name] if name in WEIGHTS else None
    model = load_model(name, weights)
    subject = compressed(model, written(model, NETWORKS[name]))
    checked = check(FORMATS[form], FORMATS[form].write(subject), subject)
    assert (checked.inputs, checked.same_class) == (4, 4)
    assert checked.max_difference < 1e-4
    with torch.no_grad():  # or it would agree with the network as it was too
        assert (model.module(subject.inputs) - subject.module(subject.inputs)).abs().max() > 0.1


def test_an_exported_program_is_a_model_again(
    digits: LoadedModel, written: Recipes, tmp_path: Path
) -> None:
    subject = compressed(digits, written(digits, NETWORKS["digits-cnn"]))
    (tmp_path / "again.pt2").write_bytes(FORMATS["pt2"].write(subject))
    again = load_model(str(tmp_path / "again.pt2"))
    with torch.no_grad():
        assert torch.allclose(again.module(subject.inputs), subject.module(subject.inputs))
    assert {"features.3.pairs.0.0", "features.3.pairs.1.1", "linear.1"} <= {
        name for name, _ in again.module.named_modules()
    }


def test_an_exported_program_holds_no_images(digits: LoadedModel) -> None:
    images = torch.ones(500, 1, 8, 8)
    content = FORMATS["pt2"].write(Subject("d", digits.module, images, True))
    example = read_exported(content, "d").example_inputs
    assert example is not None
    assert torch.equal(example[0][0], torch.zeros(1, 1, 8, 8))
    assert example[0][0].untyped_storage().nbytes() == 256


def test_int8_takes_its_ranges_from_images(digits: LoadedModel, written: Recipes) -> None:
    noise = compressed(digits, written(digits, {"linear": "plain:r10"}), 32)
    images = Subject(noise.name, noise.module, noise.inputs, True)
    content = FORMATS["tflite-int8"].write(images)
    assert len(content) < 0.5 * len(FORMATS["tflite"].write(images))
    with torch.no_grad():
        expected = images.module(images.inputs)
    scores = FORMATS["tflite-int8"].scores(content, images.inputs)
    # Found: 1.9% of the greatest score. With ranges of one image or of eight, or with the mean of
    # the ranges of all, some image is beyond them, and it is 18 to 48%.
    assert 0 < (scores - expected).abs().max() < 0.03 * expected.abs().max()
    assert torch.equal(scores.argmax(1), expected.argmax(1))
    assert check(FORMATS["tflite-int8"], content, images).same_class == 8
    with pytest.raises(UserError, match="tflite-int8 needs --calibration IMAGES"):
        FORMATS["tflite-int8"].write(noise)


class _Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.linalg.svdvals(x.flatten(2)).sum(1, keepdim=True)
        return found


class _Fickle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


@pytest.mark.parametrize(
    ("form", "module", "said"),
    [
        ("tflite", _Odd(), "model 'mine'.*svdvals"),
        ("pt2", _Fickle(), "model 'mine': torch cannot export it: "),
        pytest.param("onnx", _Fickle(), "cannot export it to ONNX: ", marks=needs_onnx),
    ],
)
def test_what_cannot_be_written_is_named(form: str, module: nn.Module, said: str) -> None:
    with pytest.raises(UserError, match=said):
        FORMATS[form].write(Subject("mine", module.eval(), torch.ones(2, 1, 4, 4), False))


@pytest.mark.skipif(not no_onnx, reason="onnxscript is installed")
def test_onnx_says_what_is_missing(digits: LoadedModel) -> None:
    with pytest.raises(UserError, match="'onnxscript': install brpnas with its extra 'onnx'"):
        FORMATS["onnx"].write(Subject("d", digits.module, torch.ones(1, 1, 8, 8), False))


def test_a_file_of_another_network_is_told(digits: LoadedModel, written: Recipes) -> None:
    one = compressed(digits, written(digits, {"features.6": "separable:r8"}))
    other = Subject("other", digits.module, one.inputs, False)
    for form in (FORMATS["pt2"], FORMATS["tflite"]):
        with pytest.raises(UserError, match=r"'other': model\..* has scores that differ from the"):
            check(form, form.write(one), other)
        with pytest.raises(UserError, match=r"(does not run|no exported torch program)"):
            check(form, b"nothing", other)
    identical = check(FORMATS["pt2"], FORMATS["pt2"].write(other), other)
    assert identical == Checked(4, pytest.approx(0, abs=1e-5), 4)


@pytest.mark.parametrize("name", ["pt2", "onnx"])
def test_files_say_nothing_of_the_machine_they_were_made_on(name: str, digits: LoadedModel) -> None:
    pytest.importorskip("onnxscript" if name == "onnx" else "torch")
    subject = Subject("digits-cnn", digits.module, torch.zeros(2, 1, 8, 8), False)
    content = FORMATS[name].write(subject)
    if name == "pt2":
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            content = b"".join(map(file.read, file.namelist()))
    assert str(Path(brpnas.__file__).parent).encode() not in content
    assert b"def forward" not in content
    assert b"return self" not in content
