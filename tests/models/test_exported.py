from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.models import BUILTIN, LoadedModel, load_model

LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)


def exported(path: Path, module: nn.Module, *example: Tensor) -> str:
    torch.export.save(torch.export.export(module.eval(), example), path / "net.pt2")
    return str(path / "net.pt2")


def layers(module: nn.Module) -> dict[str, str]:
    return {
        name: repr(one).partition("(")[0] + str(getattr(one, "stride", ""))
        for name, one in module.named_modules()
        if isinstance(one, LAYERS)
    }


def check(path: Path, module: nn.Module, example: Tensor) -> LoadedModel:
    """Export and load; the scores of any number of images are the same."""
    loaded = load_model(exported(path, module, example))
    for count in (1, 2, 5):
        x = torch.rand(count, *example.shape[1:])
        with torch.no_grad():
            assert torch.allclose(loaded.module(x), module(x), atol=1e-5)
    return loaded


@pytest.mark.parametrize(
    ("name", "batch"), [("digits-cnn", 1), ("resnet20-cifar", 4), ("vit6x128-cifar", 1)]
)
def test_layers_have_their_names_again(tmp_path: Path, name: str, batch: int) -> None:
    known = BUILTIN[name]
    module = known.build()
    loaded = check(tmp_path, module, torch.rand(batch, *known.image_shape))
    assert (loaded.image_shape, loaded.classes) == (known.image_shape, 10)
    assert layers(loaded.module) == layers(module)
    assert loaded.module.state_dict().keys() == module.state_dict().keys()


def test_a_layer_can_be_replaced(tmp_path: Path) -> None:
    loaded = check(tmp_path, BUILTIN["digits-cnn"].build(), torch.rand(1, 1, 8, 8))
    module = copy.deepcopy(loaded.module)
    replaced = module.get_submodule("linear")
    module.linear = nn.Sequential(nn.Linear(64, 3), nn.Linear(3, 7))
    assert isinstance(replaced, nn.Linear)
    assert module(torch.rand(2, 1, 8, 8)).shape == (2, 7)
    assert loaded.module(torch.rand(2, 1, 8, 8)).shape == (2, 10)


class Odd(nn.Module):
    """Convolutions of every kind, a weight that two calls share, some that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 8, 3, padding="same", dilation=2)
        self.grouped = nn.Conv2d(8, 8, (3, 1), (2, 1), (1, 0), groups=4, bias=False)
        self.twice = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.ones(8))
        self.head = nn.Linear(8, 6)
        self.plain = nn.BatchNorm2d(8, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.plain(self.grouped(F.relu(self.same(x)))).mean((2, 3))
        x = self.twice(F.relu(self.twice(x))) * self.scale.view(1, 8)
        x = x + self.scale.expand(len(x), 8)
        return F.linear(x, self.head.weight * self.scale, self.head.bias)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_what_is_no_plain_layer_stays_as_it_is(tmp_path: Path, batch: int) -> None:
    loaded = check(tmp_path, Odd(), torch.rand(batch, 3, 8, 8))
    assert set(layers(loaded.module)) == {"same", "grouped"}
    same = loaded.module.get_submodule("same")
    assert isinstance(same, nn.Conv2d)
    assert (same.padding, same.dilation) == ("same", (2, 2))


class Mixes(nn.Module):
    """Depends on the other images of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) - x.mean((0, 2, 3))


class Fixed(nn.Module):
    """Works with two images only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + torch.arange(2.0).unsqueeze(1)


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y).mean((2, 3))


X = torch.rand(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("make", "example", "message"),
    [
        (Mixes, (X,), "gives other scores with another batch size than 2"),
        (Fixed, (X,), "works with a batch of 2 only"),
        (Two, (X, X), "2 inputs and 1 outputs; accepted: one batch of images, one of scores"),
        (nn.Identity, (X,), r"returns \(2, 3, 4, 4\) for two images"),
        (nn.Flatten, (X[0],), r"example of shape \(1, 4, 4\)|batch of 3 only"),
    ],
)
def test_programs_that_classify_no_images(
    tmp_path: Path, make: Callable[[], nn.Module], example: tuple[Tensor, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_model(exported(tmp_path, make(), *example))


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with pytest.raises(UserError, match=r"cannot read .*net\.pt2: No such file"):
        load_model(str(path))
    path.write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"net\.pt2: no exported torch program"):
        load_model(str(path))
    batch = torch.export.Dim("batch", min=2, max=9)
    program = torch.export.export(Mixes(), (X,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    with pytest.raises(UserError, match="dynamic shapes; export it without"):
        load_model(str(path))
