"""What all repairs have in common, on the digits network that comes with the package."""

from __future__ import annotations

import copy
import dataclasses
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.evaluate.digits import distorted_digits
from brpnas.images import ImageSet
from brpnas.lowrank import Choice, Factors, find_layers, gather_moments, model_hash, replace
from brpnas.lowrank.repair import REPAIRS, repair
from brpnas.lowrank.repair.bn import BatchNorm
from brpnas.lowrank.repair.calibration import Calibration
from brpnas.lowrank.repair.distil import Distillation
from brpnas.lowrank.repair.features import WithFeatures, last_layer
from brpnas.lowrank.repair.job import Frame, Job, Repair, distance, outputs
from brpnas.lowrank.repair.lsq import LeastSquares
from brpnas.lowrank.repair.synthetic import Dream, Synthetic
from brpnas.models import BUILTIN, load_model

CHOICES = {
    "features.3": Choice.parse("separable:r12"),
    "features.6": Choice.parse("input:g4:r6+output:g1:r4"),
    "features.9": Choice.parse("output:g4:r8"),
}
SHORT = Distillation(steps=24, batch=32, rates=(1e-3,))
QUICK: dict[str, Repair] = {
    "bn": BatchNorm(),
    "lsq": LeastSquares(),
    "calibration": Calibration(distillation=SHORT),
    "synthetic": Synthetic(Dream(96, 32, 20), distillation=SHORT),
}
DREAM_STEPS = 3 * 20
Digits = tuple[nn.Module, dict[str, nn.Module], Tensor, Tensor]


@pytest.fixture(scope="module")
def digits() -> Digits:
    """A network, what compression makes of it by method, images to repair with, and others."""
    model = load_model("digits-cnn").module
    norm = BUILTIN["digits-cnn"].normalisation
    split = distorted_digits()
    images = ImageSet("train", split.train.x[:400]).tensor(norm)
    layers = find_layers(model, images[:1])
    moments = gather_moments(model, layers, [images])
    smaller = {
        method: replace(model, CHOICES, Factors(model, layers, method, moments))[0]
        for method in ("plain", "output")
    }
    assert split.valid is not None
    return model, smaller, images, ImageSet("valid", split.valid.x[:500]).tensor(norm)


def _job(digits: Digits, name: str, folder: Path | None = None) -> Job:
    """Return what a repair has to work with: synthetic images start where no images were seen."""
    model, smaller, images, _ = digits
    if name == "synthetic":
        return Job(model, smaller["plain"], CHOICES, None, Frame((1, 8, 8)), folder=folder)
    return Job(model, smaller["output"], CHOICES, images, folder=folder)


@pytest.mark.parametrize("name", QUICK)
def test_the_network_comes_nearer_to_the_original(digits: Digits, name: str) -> None:
    """On images that no repair has seen; what is put in stays as it is."""
    unseen = digits[3]
    job = _job(digits, name)
    model, smaller = job.original, job.compressed
    before = [model_hash(network.state_dict()) for network in (model, smaller)]
    repaired = QUICK[name].run(job)
    assert [model_hash(network.state_dict()) for network in (model, smaller)] == before
    wanted = outputs(model, unseen)
    far, near = (distance(wanted, outputs(m, unseen)) for m in (smaller, repaired))
    gain = {"bn": 0.8, "lsq": 0.4, "calibration": 0.5, "synthetic": 0.3}[name]
    assert near <= gain * far, (far, near)
    assert [m.training for m in repaired.modules()] == [m.training for m in smaller.modules()]
    assert all(p.requires_grad for p in repaired.parameters())


def test_distillation_does_better_than_least_squares(digits: Digits) -> None:
    model, _, _, unseen = digits
    wanted = outputs(model, unseen)
    longer = Calibration(distillation=Distillation(steps=60, batch=32, rates=(1e-3,)))
    lsq, trained = (
        distance(wanted, outputs(way.run(_job(digits, "calibration")), unseen))
        for way in (QUICK["lsq"], longer)
    )
    assert trained < 0.95 * lsq


def test_distillation_brings_features_near(digits: Digits) -> None:
    model, _, images, unseen = digits
    last = last_layer(model, images[:1])
    assert last == "linear"
    with torch.no_grad():
        asked = WithFeatures(copy.deepcopy(model).eval(), last)(unseen)[1]
    assert asked is not None
    far = []
    for weight in (0.0, 100.0):
        way = Calibration(distillation=Distillation(60, 32, (1e-3,), feature_weight=weight))
        trained = way.run(_job(digits, "calibration"))
        with torch.no_grad():
            found = WithFeatures(trained.eval(), last)(unseen)[1]
            assert found is not None
            far.append(float((found - asked).norm() / asked.norm()))
    assert far[1] < 0.97 * far[0], far


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("name", ["calibration", "synthetic"])
def test_a_killed_repair_continues_to_the_same_network(
    digits: Digits, tmp_path: Path, name: str
) -> None:
    whole = QUICK[name].run(_job(digits, name))
    told: list[tuple[int, int]] = []

    def killed(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == (DREAM_STEPS + 7 if name == "synthetic" else 10 + 4):
            raise _KilledError

    def run(progress: object) -> nn.Module:
        job = _job(digits, name, tmp_path)
        object.__setattr__(job, "progress", progress)
        return QUICK[name].run(job)

    with pytest.raises(_KilledError):
        run(killed)
    steps = len(told)
    told.clear()
    again = run(lambda done, total: told.append((done, total)))
    assert len(told) < steps
    assert told[-1][0] == told[-1][1]
    assert model_hash(again.state_dict()) == model_hash(whole.state_dict())
    told.clear()
    run(lambda done, total: told.append((done, total)))
    assert not told


def test_a_damaged_state_is_not_taken(
    digits: Digits,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = QUICK["calibration"].run(_job(digits, "calibration", tmp_path))
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-5] ^= 64
    file.write_bytes(content)
    again = QUICK["calibration"].run(_job(digits, "calibration", tmp_path))
    assert "damaged" in caplog.text
    assert model_hash(again.state_dict()) == model_hash(whole.state_dict())


HASH = """
import torch
from torch import nn
from brpnas.lowrank import Choice, Factors, find_layers, model_hash, replace
from brpnas.lowrank.repair.calibration import Calibration
from brpnas.lowrank.repair.distil import Distillation
from brpnas.lowrank.repair.job import Job
torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3),
                      nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
x = torch.randn(64, 3, 8, 8)
choices = {"3": Choice.parse("separable:r3")}
smaller, _ = replace(model, choices, Factors(model, find_layers(model, x), "plain"))
job = Job(model, smaller, choices, x, seed=3)
found = model_hash(Calibration(distillation=Distillation(2, 16, (1e-3,))).run(job).state_dict())
"""


def test_another_process_repairs_to_the_same_network() -> None:
    here: dict[str, str] = {}
    threads = torch.get_num_threads()
    try:
        exec(HASH, here)  # noqa: S102 - the same text as there
    finally:
        torch.set_num_threads(threads)
    command = [sys.executable, "-c", f"{HASH}\nprint(found)"]
    there = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert here["found"] == there.strip()


def test_what_does_not_help_is_not_done(digits: Digits, caplog: pytest.LogCaptureFixture) -> None:
    """A training that diverges; and a network that is as it was before compression."""
    caplog.set_level(logging.INFO)
    model, _, images, _ = digits
    wild = Calibration(distillation=Distillation(steps=10, batch=32, rates=(10.0,)))
    found = wild.run(_job(digits, "calibration"))
    assert "least squares is taken" in caplog.text
    assert all(bool(value.isfinite().all()) for value in found.state_dict().values())
    for name in ("bn", "lsq", "calibration"):
        same = QUICK[name].run(Job(model, model, {}, images))
        assert model_hash(same.state_dict()) == model_hash(model.state_dict())


class _Ruin(LeastSquares):
    """What least squares is where images are few: worse than what was there."""

    def fit(self, job: Job, images: Tensor) -> nn.Module:
        ruined = super().fit(job, images)
        with torch.no_grad():
            for parameter in ruined.parameters():
                parameter.zero_()
        return ruined


def test_training_starts_from_the_nearer(digits: Digits, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Calibration(_Ruin(), Distillation(60, 32, (1e-3,))).run(_job(digits, "calibration"))
    assert "distillation is taken" in caplog.text


def test_rate_is_chosen_by_short_trainings(
    digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told: list[tuple[int, int]] = []
    way = Calibration(distillation=Distillation(200, 32, (1.0, 1e-3, 1e-6)))
    job = dataclasses.replace(_job(digits, "calibration", tmp_path), progress=_noting(told))
    found = way.run(job)
    assert re.search(r"rate 0.001 is taken .* after trials 1: .*, 0.001: .*, 1e-06", caplog.text)
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    alone = Calibration(distillation=Distillation(200, 32, (1e-3,)))
    same = alone.run(_job(digits, "calibration"))
    assert model_hash(found.state_dict()) == model_hash(same.state_dict())
    told.clear()
    way.run(job)  # all trials are kept, too
    assert not told


def _noting(told: list[tuple[int, int]]) -> Callable[[int, int], None]:
    return lambda done, total: told.append((done, total))


def test_few_images_are_not_seen_too_often() -> None:
    way = Distillation(steps=1000, batch=64, most_epochs=60)
    assert way.length(2688) == 24 * 42
    assert way.length(380) == 60 * 5
    assert way.length(20) == 60
    assert way.length(100_000) == 100_000 // 64


def test_distance_is_not_negative() -> None:
    """Of answers that are all but certain, rounding alone would be."""
    for seed in range(50):
        random = torch.Generator().manual_seed(seed)
        scores = 1000 * torch.randn(8, 2, generator=random)
        assert distance(scores, scores * (1 + 1e-6 * torch.randn(8, 2, generator=random))) >= 0


def test_each_by_its_name(digits: Digits) -> None:
    model, images = digits[0], digits[2]
    smaller = digits[1]["output"]
    assert list(REPAIRS) == ["none", "bn", "lsq", "synthetic", "calibration"]
    same = repair("none", model, smaller, CHOICES)
    assert same is not smaller
    assert model_hash(same.state_dict()) == model_hash(smaller.state_dict())
    other = repair("lsq", model, smaller, CHOICES, images)
    expected = QUICK["lsq"].run(_job(digits, "lsq"))
    assert model_hash(other.state_dict()) == model_hash(expected.state_dict())


def test_repairs_that_cannot_be(digits: Digits) -> None:
    model, images = digits[0], digits[2]
    smaller = digits[1]["output"]
    with pytest.raises(UserError, match="Choices: none, bn, lsq, synthetic, calibration"):
        repair("better", model, smaller, CHOICES)
    with pytest.raises(UserError, match="unknown layer 'features_4'"):
        repair("lsq", model, smaller, {"features_4": CHOICES["features.3"]}, images)
    with pytest.raises(UserError, match="does not run on images of 4 x 3 x 8 x 8"):
        repair("bn", model, smaller, CHOICES, torch.zeros(32, 3, 8, 8))
    for name in ("bn", "lsq", "calibration"):
        with pytest.raises(UserError, match=f"repair '{name}' needs calibration images"):
            repair(name, model, smaller, CHOICES)
        with pytest.raises(UserError, match="31 calibration images to repair with: it needs 32"):
            repair(name, model, smaller, CHOICES, images[:31])
    with pytest.raises(UserError, match="needs to know the shape of the network's images"):
        repair("synthetic", model, smaller, CHOICES)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for name in ("bn", "synthetic"):
        with pytest.raises(UserError, match="no batch norm with statistics"):
            repair(name, plain, plain, {}, images)
