from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from brpnas.compressing.subject import Images, Progress, Subject, prepare, read_subject
from brpnas.errors import UserError
from brpnas.lowrank import weights_hash
from brpnas.lowrank.counting import count_macs
from brpnas.models import BUILTIN, LoadedModel
from brpnas.spaces import LowRankNetwork

RNG = np.random.default_rng(0)
DIGITS = RNG.random((40, 8, 8, 1), np.float32)


def read(
    model: str | None = "digits-cnn",
    weights: Path | None = None,
    calibration: Path | None = None,
    test: Path | None = None,
    *,
    labels: bool = False,
    most: int = 64,
) -> tuple[LoadedModel, Images]:
    return read_subject(model, weights, calibration, test, labels=labels, most=most, seed=0)


def images(path: Path, x: Any = DIGITS, y: Any = None) -> Path:
    np.savez(path, **({"x": x} if y is None else {"x": x, "y": y}))
    return path


def test_network_of_the_package_brings_its_images() -> None:
    loaded, found = read(None, labels=True)
    assert loaded.name == "digits-cnn"
    assert found.calibration.shape == (64, 1, 8, 8)
    assert found.labels is not None
    assert found.labels.shape == (64,)
    assert found.test is not None
    assert len(found.test[0]) == len(found.test[1]) > 500
    assert found.bounds is not None
    assert bool((found.calibration >= found.bounds[0]).all())
    assert bool((found.calibration <= found.bounds[1]).all())


def test_images_are_drawn_and_hashed_with_the_labels_that_may_be_used(tmp_path: Path) -> None:
    own = images(tmp_path / "own.npz", y=np.arange(40) % 10)
    _, few = read(calibration=own, most=16, labels=True)
    assert len(few.calibration) == 16
    assert few.test is None  # that of the package is for other images
    _, unlabelled = read(calibration=own, most=16)
    assert unlabelled.labels is None
    assert torch.equal(unlabelled.calibration, few.calibration)
    assert unlabelled.sha256 != few.sha256
    images(tmp_path / "same.npz")
    assert read(calibration=tmp_path / "same.npz", most=16)[1].sha256 == unlabelled.sha256
    assert read(calibration=own, most=17)[1].sha256 != unlabelled.sha256
    _, tested = read(calibration=own, test=own)
    assert tested.test is not None
    assert tested.test[1].tolist() == [i % 10 for i in range(40)]


def test_classes_that_are_not_used_may_be_any(tmp_path: Path) -> None:
    own = images(tmp_path / "own.npz", y=np.arange(40))
    assert read(calibration=own)[1].labels is None
    with pytest.raises(UserError, match="image 10 is of class 10, but digits-cnn knows 10 classes"):
        read(calibration=own, labels=True)


def test_one_image_is_too_few(tmp_path: Path) -> None:
    one = images(tmp_path / "one.npz", DIGITS[:1])
    with pytest.raises(UserError, match=r"one\.npz: 1 image; a search needs 2: to fit, to judge"):
        read(calibration=one)


def test_images_that_say_little_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(calibration=images(tmp_path / "own.npz"))
    assert not caplog.text
    read(calibration=images(tmp_path / "few.npz", DIGITS[:10]))
    assert "few.npz: 10 images, of which 3 judge" in caplog.text
    read(calibration=images(tmp_path / "same.npz", DIGITS[:1].repeat(40, 0)))
    assert "same.npz: all images are the same" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": None, "weights": Path("w.safetensors")}, "--weights needs --model"),
        ({"model": "resnet20-cifar"}, "--model resnet20-cifar needs --weights"),
        ({"calibration": Path("nowhere.npz")}, "nowhere.npz"),
        ({"calibration": Path("own.npz"), "labels": True}, "own.npz has no labels"),
        ({"test": Path("own.npz")}, "own.npz: test images need labels"),
        ({"calibration": Path("wide.npz")}, r"wide.npz: images of shape \(8, 9, 1\), but digits"),
        ({"calibration": Path("bright.npz")}, "bright.npz: values from .* to 300; accepted are"),
        ({"calibration": Path("nan.npz")}, "nan.npz: NaN or infinity in 1 of 40 images"),
        ({"test": Path("class.npz")}, "class.npz: image 3 is of class 10, but digits-cnn knows 10"),
        (
            {"weights": Path("holed.safetensors")},
            "holed.safetensors: NaN or infinity in features.3.weight",
        ),
        ({"weights": Path("other.safetensors")}, "other.safetensors"),
    ],
)
def test_bad_input_is_the_users_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    images(Path("own.npz"))
    images(Path("wide.npz"), np.zeros((5, 8, 9, 1), np.float32))
    images(Path("bright.npz"), np.concatenate([DIGITS, np.full((1, 8, 8, 1), 300, np.float32)]))
    holed = DIGITS.copy()
    holed[3, 2, 1, 0] = np.nan
    images(Path("nan.npz"), holed)
    images(Path("class.npz"), y=np.array([0, 1, 2, 10] * 10))
    own = BUILTIN["digits-cnn"].weights
    assert own is not None
    state = load_file(own)
    state["features.3.weight"][0, 0, 0, 0] = float("nan")
    save_file(state, "holed.safetensors")
    save_file({"conv1.weight": torch.zeros(3)}, "other.safetensors")
    with pytest.raises(UserError, match=said):
        read(**options)


def test_model_without_images_of_its_own_needs_some(shared: Path) -> None:
    weights = shared / "weights" / "resnet20_cifar10_akamaster.safetensors"
    with pytest.raises(UserError, match="--model resnet20-cifar needs --calibration"):
        read("resnet20-cifar", weights)


def test_space_counts_as_the_network_does(subject: Subject) -> None:
    x = subject.images.calibration[:1]
    assert subject.space.macs(LowRankNetwork()) == count_macs(subject.model, x)
    archs = subject.space.sample(3, np.random.default_rng(0))
    for arch in archs:
        built = subject.build(arch)
        assert subject.space.macs(arch) == count_macs(built, x)
        assert subject.space.params(arch) == sum(p.numel() for p in built.parameters())


def test_options_have_errors_and_damages_that_fall_with_cost(subject: Subject) -> None:
    for name, known in subject.space.options.items():
        assert 1 < len(known) <= 6
        costs = [one.choice.macs(subject.layers.shapes[name]) for one in known[1:]]
        assert costs == sorted(costs)
        assert known[1].error > known[-1].error > 0
        assert known[1].damage > known[-1].damage > 0


def _prepare(model: nn.Module, x: Tensor, bars: Progress, cache: Path | None = None) -> Subject:
    return prepare(
        LoadedModel("mine", model),
        Images(x, None, None, None, "0"),
        cost="macs",
        seed=0,
        bars=bars,
        options=4,
        cache=cache,
    )


def test_cache_saves_the_pass_over_the_images(tmp_path: Path, bars: Progress) -> None:
    said: list[str] = []

    @contextlib.contextmanager
    def noted(what: str) -> Iterator[Callable[[int, int], None]]:
        said.append(what)
        with bars(what) as bar:
            yield bar

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(96, 4)).eval()
    x = torch.randn(8, 3, 6, 6)
    before = weights_hash(model)
    first = _prepare(model, x, noted, tmp_path)
    again = _prepare(model, x, noted, tmp_path)
    assert said.count("calibration images") == 1
    assert said.count("layers decomposed") == 2
    assert first.space.options == again.space.options
    assert weights_hash(model) == before  # the hash in the record is taken before


class _Signed(nn.Sequential):
    """Other code with the same weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = super().forward(x.sign())
        return found


def test_cache_knows_other_code_of_the_same_weights(tmp_path: Path, bars: Progress) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(96, 4)).eval()
    x = torch.randn(8, 3, 6, 6)
    first = _prepare(model, x, bars, tmp_path)
    other = _prepare(_Signed(*model), x, bars, tmp_path)
    assert first.space.options != other.space.options
    assert other.space.options == _prepare(_Signed(*model), x, bars).space.options


def test_network_that_no_pair_fits_into_is_the_users_error(bars: Progress) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Flatten())
    with pytest.raises(UserError, match=r"model 'mine': no layer can be replaced \(0: a grouped"):
        _prepare(model, torch.randn(4, 4, 6, 6), bars)


def test_images_that_the_network_does_not_run_on_are_the_users_error(bars: Progress) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(UserError, match="does not run on an input of 1 x 4 x 7 x 7"):
        _prepare(model, torch.randn(4, 4, 7, 7), bars)


class _AlwaysDropping(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5, training=True)


def test_network_that_is_random_is_the_users_error(bars: Progress) -> None:
    model = _AlwaysDropping(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(128, 10))
    with pytest.raises(UserError, match="'mine' answers the same images otherwise when"):
        _prepare(model, torch.randn(8, 4, 6, 6), bars)


class _One(nn.Module):
    """Takes one image at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(4, 8, 3), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(x).reshape(1, 128))
        return scores


def test_network_for_one_image_at_a_time_is_the_users_error(bars: Progress) -> None:
    with pytest.raises(UserError, match=r"does not run on images of \d x 4 x 6 x 6"):
        _prepare(_One(), torch.randn(8, 4, 6, 6), bars)


def test_what_judges_was_not_fitted_to() -> None:
    _, images = read(labels=True, most=64)
    (fitted, of_fitted), (judged, of_judged) = images.fitted, images.judged
    assert (len(fitted), len(judged)) == (43, 21)
    assert of_fitted is not None
    assert of_judged is not None
    together = torch.cat([fitted, judged]).flatten(1)
    assert sorted(together.tolist()) == sorted(images.calibration.flatten(1).tolist())
    assert images.labels is not None
    assert sorted([*of_fitted, *of_judged]) == sorted(images.labels)
