from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from brpnas.errors import UserError
from brpnas.images import ImageSet
from brpnas.models import BUILTIN, LoadedModel, load_model

X = np.zeros((4, 8, 8, 1), np.uint8)


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes what a function returns into a module of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def function(returned: str) -> str:
        name = f"net_{abs(hash(returned))}"
        (tmp_path / f"{name}.py").write_text(
            "import torch\nfrom torch import nn\n"
            "net = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 5))\n"
            "print('hello')\n"
            f"def make():\n    return {returned}\n"
        )
        return f"{name}:make"

    return function


def test_the_network_that_comes_with_the_package(digits: LoadedModel) -> None:
    assert (digits.image_shape, digits.classes) == ((1, 8, 8), 10)
    assert not digits.module.training
    assert digits.normalisation == BUILTIN["digits-cnn"].normalisation


def test_loading_leaves_random_numbers_alone() -> None:
    torch.manual_seed(3)
    load_model("digits-cnn")
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)


def test_own_weights(tmp_path: Path, digits: LoadedModel) -> None:
    doubled = {key: 2 * value for key, value in digits.module.state_dict().items()}
    save_file(doubled, tmp_path / "w.safetensors")
    loaded = load_model("digits-cnn", tmp_path / "w.safetensors")
    weight = loaded.module.get_parameter("linear.weight")
    assert torch.equal(weight, doubled["linear.weight"])


def test_functions(
    function: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = load_model(function("net().half()"))
    assert (alone.image_shape, alone.classes, alone.normalisation) == (None, None, None)
    assert alone.module(torch.rand(2, 3, 6, 6)).shape == (2, 5)  # in float32
    pair = load_model(function("net(), torch.rand(1, 3, 6, 6)"))
    assert (pair.image_shape, pair.classes) == ((3, 6, 6), 5)
    assert not pair.module.training
    assert capsys.readouterr().out == ""
    save_file(alone.module.state_dict(), tmp_path / "w.safetensors")
    filled = load_model(function("(net(), [torch.rand(1, 3, 6, 6)])"), tmp_path / "w.safetensors")
    x = torch.rand(2, 3, 6, 6)
    assert torch.equal(filled.module(x), alone.module(x))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("3", "returned int; accepted: a torch module, or a pair"),
        ("net(), 3", r"returned \(Sequential, int\)"),
        ("net(), torch.rand(3, 6, 6)", r"example of shape \(3, 6, 6\); accepted: a batch"),
        ("net(), torch.rand(1, 3, 9, 9)", r"fails on two images of shape \(3, 9, 9\): RuntimeE"),
        ("nn.Flatten(0), torch.rand(1, 3, 9, 9)", r"returns \(486,\) for two images"),
        ("nn.ReLU(), torch.rand(1, 3, 2, 2)", r"returns \(2, 3, 2, 2\) for two images"),
        ("nn.LazyLinear(3), torch.rand(1, 4, 2, 2)", "weight has no shape yet; run the network"),
        ("1 / 0", "the function failed: ZeroDivisionError"),
        ("exit(3)", "the function failed: SystemExit: 3"),
        ("nn.Linear(2, 2).requires_grad_(False).fill_(1)", "the function failed: AttributeError"),
        ("nn.utils.skip_init(nn.Linear, 2, 2).apply(lambda m: m.weight.data.fill_(torch.nan))",
         r"NaN or infinity in weight \(4 of 4\)"),
    ],
)  # fmt: skip
def test_functions_that_return_something_else(
    function: Callable[[str], str], returned: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_model(function(returned))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet20-cifar", "resnet20-cifar needs --weights FILE.safetensors"),
        ("a b:c", "not of the form package.module:function"),
        ("no_such_module:f", "cannot be imported: ModuleNotFoundError"),
        ("torch:no_such_function", "cannot be imported: AttributeError"),
    ],
)
def test_specs_that_name_nothing(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(spec)


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_an_unknown_name_without_timm() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'resnet20-cifar'.*timm, which is not inst"):
        load_model("resnet20-cifr")


def test_a_name_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "w.safetensors")
    loaded = load_model("resnet18", tmp_path / "w.safetensors")
    assert (loaded.image_shape, loaded.classes) == ((3, 224, 224), 1000)
    with pytest.raises(UserError, match="nothing is downloaded"):
        load_model("resnet18")
    with pytest.raises(UserError, match="unknown model 'resnet17'"):
        load_model("resnet17")


def test_weights_of_another_network(shared: Path) -> None:
    weights = shared / "weights" / "resnet20_cifar10_akamaster.safetensors"
    with pytest.raises(
        UserError, match=r"akamaster\.safetensors does not fit resnet32-cifar: miss"
    ):
        load_model("resnet32-cifar", weights)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (ImageSet("a", X[:, :6]), r"shape \(6, 8, 1\), but digits-cnn takes \(8, 8, 1\)"),
        (ImageSet("a", X.transpose(0, 3, 1, 2)), r"transpose them: x\.transpose\(0, 2, 3, 1\)"),
        (ImageSet("a", X, np.array([1, 10, 0, 0])), "image 1 is of class 10, but .* 0 to 9"),
        (ImageSet("a", X, np.array([0, 1, 0, 1]), ("cat", "dog")), r"a: 2 subfolders \(cat, ...\)"),
    ],
)
def test_images_of_another_network(digits: LoadedModel, images: ImageSet, message: str) -> None:
    with pytest.raises(UserError, match=message):
        digits.check_images(images)


def test_images_are_read_as_the_network_takes_them(digits: LoadedModel, shared: Path) -> None:
    photographs = shared / "data" / "imagenet_val_1300_227px.parquet"
    with pytest.raises(UserError, match="but digits-cnn knows 10 classes"):
        digits.read_images(photographs)  # scaled and made grey, so that only the classes are wrong
    unknown = LoadedModel("mine:net", digits.module)
    assert unknown.read_images(shared / "data" / "cifar10_test_10k.npz").x.shape[1:] == (32, 32, 3)
