from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from brpnas.devices.tflite import convert
from brpnas.images import ImageSet
from brpnas.lowrank import Choice, Factors, Pair, find_layers, replace, schemes_for
from brpnas.lowrank.counting import count_macs
from brpnas.models import BUILTIN, LoadedModel, load_model
from brpnas.models.efficientnet_lite import efficientnet_lite0
from brpnas.models.resnet_cifar import resnet_cifar

WEIGHTS = {
    "resnet20-cifar": "resnet20_cifar10_akamaster",
    "resnet56-cifar": "resnet56_cifar10_akamaster",
    "vit6x128-cifar": "vit6x128_cifar10",
}


def right(model: LoadedModel, images: ImageSet) -> int:
    """Count the images that a network classifies rightly."""
    assert images.y is not None
    with torch.inference_mode():
        guesses = [model.module(x).argmax(1) for x in images.batches(250, model.normalisation)]
    return int((torch.cat(guesses).numpy() == images.y).sum())


def loaded(shared: Path, name: str) -> tuple[LoadedModel, ImageSet]:
    model = load_model(name, shared / "weights" / f"{WEIGHTS[name]}.safetensors")
    return model, model.read_images(shared / "data" / "cifar10_test_10k.npz")


@pytest.mark.parametrize(
    ("name", "count"), [("resnet20-cifar", 227), ("resnet56-cifar", 234), ("vit6x128-cifar", 167)]
)
def test_the_first_test_images_of_cifar(shared: Path, name: str, count: int) -> None:
    model, images = loaded(shared, name)
    assert right(model, images.take(np.arange(250))) == pytest.approx(count, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet20-cifar", 9173), ("resnet56-cifar", 9339), ("vit6x128-cifar", 7372)],
)
def test_published_accuracy(shared: Path, name: str, count: int) -> None:
    """One image of 10,000 may lie on the border and turn with the order of a sum."""
    assert right(*loaded(shared, name)) == pytest.approx(count, abs=2)


@pytest.mark.parametrize(
    ("count", "known"), [(24, 20), pytest.param(1300, 1070, marks=pytest.mark.slow)]
)
def test_efficientnet_lite0_on_imagenet(
    shared: Path, tmp_path: Path, count: int, known: int
) -> None:
    weights = shared / "weights" / "efficientnet_lite0_imagenet.safetensors"
    model = load_model("efficientnet-lite0", weights)
    some = pq.read_table(shared / "data" / "imagenet_val_1300_227px.parquet").slice(0, count)
    pq.write_table(some, tmp_path / "some.parquet")
    photographs = model.read_images(tmp_path / "some.parquet")
    assert right(model, photographs) == pytest.approx(known, abs=2)


def test_efficientnet_lite0_is_the_published_one() -> None:
    """4.7 million parameters."""
    params = sum(one.numel() for one in efficientnet_lite0().parameters())
    assert params / 1e6 == pytest.approx(4.7, abs=0.05)


def test_every_layer_of_efficientnet_lite0_can_be_replaced() -> None:
    """But the depthwise ones; its padding does not ask the layers."""
    network, x = efficientnet_lite0().eval(), torch.rand(1, 3, 33, 32)
    layers = find_layers(network, x)
    assert len(layers.shapes) == 15 + 16 + 3
    assert all(name.endswith("_depthwise_conv") for name in layers.left)
    choices = {name: Choice((Pair(schemes_for(one)[0], 1),)) for name, one in layers.shapes.items()}
    smaller, _ = replace(network, choices, Factors(network, layers, "plain"))
    with torch.no_grad():
        assert smaller(x).shape == (1, 1000)


@pytest.mark.parametrize("size", [(224, 224), (227, 225), (31, 48)])
def test_efficientnet_lite0_pads_as_tensorflow_does(size: tuple[int, int]) -> None:
    """SAME: a stride halves a size, and rounds up, whatever the kernel."""
    network = efficientnet_lite0().eval()
    rows, cols = size
    for _ in range(5):
        rows, cols = -(-rows // 2), -(-cols // 2)
    seen: list[torch.Size] = []
    network.get_submodule("_conv_head").register_forward_hook(lambda *a: seen.append(a[2].shape))
    with torch.no_grad():
        network(torch.zeros(1, 3, *size))
    assert seen == [(1, 1280, rows, cols)]


@pytest.mark.parametrize("name", BUILTIN)
def test_shapes_are_as_they_say(name: str) -> None:
    known = BUILTIN[name]
    module = known.build().eval()
    with torch.no_grad():
        scores = module(torch.rand(3, *known.image_shape))
        alone = module(torch.rand(1, *known.image_shape))
    assert (scores.shape, alone.shape) == ((3, known.classes), (1, known.classes))
    assert len(known.normalisation.mean) == known.image_shape[0]


@pytest.mark.parametrize(
    ("layers", "params_m"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_resnets_are_those_of_the_paper(layers: int, params_m: float) -> None:
    """Table 6 of He et al., 2016."""
    network = resnet_cifar(layers)
    weighted = [one for one in network.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    assert len(weighted) == layers
    params = sum(one.numel() for one in network.parameters())
    assert params / 1e6 == pytest.approx(params_m, abs=0.05 if layers == 110 else 0.005)


def test_macs_of_resnet20() -> None:
    """By hand: stem, three stages of six convolutions whose cost only halves once, the linear."""
    stem, full = 27 * 16 * 32**2, 144 * 16 * 32**2
    macs = stem + 6 * full + (full // 2 + 5 * full) * 2 + 64 * 10
    assert count_macs(resnet_cifar(20), torch.zeros(1, 3, 32, 32)) == macs


@pytest.mark.parametrize("name", ["digits-cnn", "resnet20-cifar"])
def test_the_projects_own_converter_knows_them(name: str) -> None:
    known = BUILTIN[name]
    model = convert(known.build().eval(), torch.zeros(1, *known.image_shape), name, "brpnas")
    assert len(model.content) > 100_000
