from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank import (
    METHODS,
    Cache,
    Choice,
    Decomposition,
    Factors,
    Layers,
    Moment,
    Pair,
    Scheme,
    decompose,
    find_layers,
    gather_moments,
    greatest_rank,
    replace,
    schemes_for,
)

Seen = tuple[Layers, dict[str, Moment]]
LAYER = "layer2.1.conv1"  # 32 channels, 3x3


@pytest.fixture(scope="module")
def seen(resnet20: nn.Module, images: Tensor) -> Seen:
    layers = find_layers(resnet20, images[:1])
    return layers, gather_moments(resnet20, layers, [images])


def _factors(model: nn.Module, seen: Seen, method: str, cache: Cache | None = None) -> Factors:
    return Factors(model, seen[0], method, seen[1], cache)


@pytest.mark.parametrize("method", METHODS)
def test_greatest_rank_is_the_layer_itself(resnet20: nn.Module, seen: Seen, method: str) -> None:
    factors = _factors(resnet20, seen, method)
    for name in ("conv1", "layer1.0.conv1", "layer3.0.conv1", "linear"):
        shape = seen[0].shapes[name]
        for scheme in schemes_for(shape):
            choice = Choice((Pair(scheme, greatest_rank(shape, scheme)),))
            assert factors.error(name, choice) < 1e-20


def test_plain_error_is_the_energy_of_the_ranks_left_out(resnet20: nn.Module, seen: Seen) -> None:
    factors = _factors(resnet20, seen, "plain")
    weight = resnet20.get_submodule(LAYER).weight.double().detach()
    unfolded = weight.permute(0, 2, 1, 3).reshape(96, 96)
    energy = torch.linalg.svdvals(unfolded).square()
    torch.testing.assert_close(factors.energy(LAYER, Scheme("separable"))[0], energy)
    for rank in (1, 20, 95):
        expected = float(energy[rank:].sum() / energy.sum())
        assert factors.error(LAYER, Choice.parse(f"separable:r{rank}")) == pytest.approx(expected)


@pytest.mark.parametrize("method", ["whitened", "output"])
@pytest.mark.parametrize("family", ["separable", "input:g1", "input:g4", "output:g1", "output:g8"])
def test_error_is_the_change_of_the_outputs(
    resnet20: nn.Module, seen: Seen, images: Tensor, family: str, method: str
) -> None:
    """What is said of a layer's outputs is what a network computes with its pair."""
    choice = Choice.parse(f"{family}:r2")
    factors = _factors(resnet20, seen, method)
    pair, _ = replace(resnet20, {LAYER: choice}, factors)
    outputs = {}
    for module in (resnet20, pair):
        layer = module.get_submodule(LAYER)
        note = layer.register_forward_hook(lambda m, _, y: outputs.update({m: y.double()}))
        with torch.no_grad():
            module(images)
        note.remove()
    before, after = outputs.values()
    change = (after - before).square().mean()
    if METHODS[method].adds_bias:
        before = before - before.mean((0, 2, 3), keepdim=True)
    expected = float(change / before.square().mean())
    assert factors.error(LAYER, choice) == pytest.approx(expected, rel=1e-4)


def test_methods_that_see_images_change_the_outputs_less(resnet20: nn.Module, seen: Seen) -> None:
    """Mean squared change of a layer's outputs: of weights found in each of the three ways."""
    covariance, second = seen[1][LAYER].covariance, seen[1][LAYER].second
    weight = resnet20.get_submodule(LAYER).weight.double().detach()
    for scheme in schemes_for(seen[0].shapes[LAYER]):
        rank = max(1, greatest_rank(seen[0].shapes[LAYER], scheme) // 3)
        changes = []
        for name, method in METHODS.items():
            found = decompose(scheme, weight, seen[1][LAYER], method)
            lost = (weight - found.approximation(*found.factors(rank))).flatten(1)
            moment = covariance if name == "output" else second
            changes.append(float((lost @ moment * lost).sum()))
        plain, whitened, output = changes
        assert output < whitened < plain, scheme


def test_second_layer_is_the_best_there_is(resnet20: nn.Module, seen: Seen) -> None:
    """The derivative of the change of the outputs by the second layer's weights is zero."""
    weight = resnet20.get_submodule(LAYER).weight.double().detach()
    covariance = seen[1][LAYER].covariance
    for text in ("separable", "input:g4", "output:g1", "output:g4"):
        scheme = Choice.parse(f"{text}:r3").pairs[0].scheme
        found = decompose(scheme, weight, seen[1][LAYER], METHODS["output"])
        second, first = (factor.clone() for factor in found.factors(3))
        second.requires_grad_()

        def change(second: Tensor, first: Tensor = first, found: Decomposition = found) -> Tensor:
            lost = (weight - found.approximation(second, first)).flatten(1)
            total: Tensor = (lost @ covariance * lost).sum()
            return total

        best = change(second)
        best.backward()
        assert second.grad is not None
        step = 0.01 * torch.randn_like(second)
        rise = float(change(second.detach() + step) - best.detach())
        assert abs(float((second.grad * step).sum())) < 0.01 * rise


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["conv1", "layer2.0.conv1", "linear"])
def test_errors_of_all_ranks_are_those_of_each(
    resnet20: nn.Module, seen: Seen, name: str, method: str
) -> None:
    factors, shape = _factors(resnet20, seen, method), seen[0].shapes[name]
    for scheme in schemes_for(shape):
        ranks = scheme.ranks(shape)
        errors = factors.errors(name, scheme)
        assert errors.shape == (len(ranks),)
        assert float(errors[-1]) < 1e-8
        for place in {0, len(ranks) // 3, len(ranks) - 2} & set(range(len(ranks))):
            choice = Choice((Pair(scheme, int(ranks[place])),))
            assert float(errors[place]) == pytest.approx(factors.error(name, choice), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_errors_of_rows_and_of_layers_that_see_nothing(method: str) -> None:
    model, x = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 4)), torch.randn(50, 8)
    with torch.no_grad():
        model[0].weight[8:16] *= 0.1
        model[2].weight.zero_()
    layers = find_layers(model, x)
    factors = Factors(model, layers, method, gather_moments(model, layers, [x]))
    rows = Scheme("rows", 3)
    expected = [
        factors.error("0", Choice((Pair(rows, int(rank)),)))
        for rank in rows.ranks(layers.shapes["0"])
    ]
    assert factors.errors("0", rows).tolist() == pytest.approx(expected, abs=1e-6)
    assert factors.errors("2", Scheme("plain")).tolist() == [0.0] * 4


def test_errors_of_schemes_that_a_layer_does_not_have(resnet20: nn.Module, seen: Seen) -> None:
    with pytest.raises(UserError, match="its schemes are plain"):
        _factors(resnet20, seen, "plain").errors("linear", Scheme("separable"))


def test_memory_is_bounded(resnet20: nn.Module, seen: Seen) -> None:
    """With room for a few, what is asked for last is there, and all is as with room for all."""
    shape = seen[0].shapes[LAYER]
    choices = [Choice((Pair(scheme, 3),)) for scheme in schemes_for(shape)]
    little = Factors(resnet20, seen[0], "output", seen[1], memory_bytes=4 << 20)
    much = _factors(resnet20, seen, "output")
    for choice in choices:
        assert little.error(LAYER, choice) == much.error(LAYER, choice)
    for recent in (little._decompositions, little._found):
        assert recent.held_bytes <= 2 << 20
    assert 1 <= len(little._decompositions) < len(choices) == len(much._decompositions)
    last = little.weights(LAYER, choices[-1])
    assert little.weights(LAYER, choices[-1]) is last


@pytest.mark.parametrize("method", METHODS)
def test_singular_values_are_split_evenly(resnet20: nn.Module, seen: Seen, method: str) -> None:
    weight = resnet20.get_submodule(LAYER).weight.double().detach()
    for scheme in (Scheme("separable"), Scheme("input", 4), Scheme("output", 2)):
        second, first = decompose(scheme, weight, seen[1][LAYER], METHODS[method]).factors(5)
        torch.testing.assert_close(second.mT @ second, first @ first.mT)


@pytest.mark.parametrize("method", METHODS)
def test_second_pair_takes_what_the_first_left(
    resnet20: nn.Module, seen: Seen, method: str
) -> None:
    factors = _factors(resnet20, seen, method)
    one = factors.error(LAYER, Choice.parse("separable:r10"))
    errors = [
        factors.error(LAYER, Choice.parse(f"separable:r10+output:g1:r{rank}"))
        for rank in (1, 8, 32)
    ]
    assert one > errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-20


def test_rows_share_their_rank_by_their_singular_values() -> None:
    """A layer whose keys are of rank one leaves the rank to queries and values."""
    model = nn.Sequential(nn.Linear(8, 24))
    with torch.no_grad():
        model[0].weight[8:16] = torch.outer(torch.randn(8), torch.randn(8))
    factors = Factors(model, find_layers(model, torch.randn(2, 8)), "plain")
    weights = factors.weights("0", Choice.parse("rows:g3:r17"))
    assert [part.shape[1] for part in weights.pairs[0].second] == [8, 1, 8]
    assert factors.error("0", Choice.parse("rows:g3:r17")) < 1e-13
    least = factors.weights("0", Choice.parse("rows:g3:r3"))
    assert [part.shape[1] for part in least.pairs[0].second] == [1, 1, 1]


def test_dead_inputs_do_no_harm() -> None:
    """Channels that are always zero, and a layer that sees nothing else."""
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3))
    x = torch.randn(4, 4, 6, 6)
    x[:, 1:] = 0
    with torch.no_grad():
        model[0].bias.fill_(-1000)
    layers = find_layers(model, x)
    factors = Factors(model, layers, "output", gather_moments(model, layers, [x]))
    for name, shape in layers.shapes.items():
        for scheme in schemes_for(shape):
            weights = factors.weights(name, Choice((Pair(scheme, 1),)))
            assert all(part.isfinite().all() for part in weights.pairs[0].second)
            assert weights.pairs[0].first.isfinite().all()


@pytest.mark.parametrize("value", [0.0, -1.0, 1.7])
def test_images_that_are_all_alike_do_no_harm(value: float) -> None:
    """What varies is rounding then, of both signs."""
    torch.manual_seed(0)
    first, norm = nn.Conv2d(3, 17, 3, padding=1), nn.BatchNorm2d(17)
    model = nn.Sequential(first, norm, nn.ReLU(), nn.Conv2d(17, 33, 5, stride=2, padding=2)).eval()
    x = torch.full((64, 3, 32, 32), value)
    layers = find_layers(model, x[:1])
    moments = gather_moments(model, layers, list(x.split(16)), 64)
    factors = Factors(model, layers, "output", moments)
    for name, shape in layers.shapes.items():
        for scheme in schemes_for(shape):
            assert factors.errors(name, scheme).isfinite().all()
            weights = factors.weights(name, Choice((Pair(scheme, 1),)))
            assert weights.pairs[0].first.isfinite().all()
            assert weights.pairs[0].second[0].isfinite().all()


def test_a_damaged_cache_is_made_anew(
    resnet20: nn.Module, seen: Seen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    choice = Choice.parse("separable:r7+output:g1:r2")
    made = _factors(resnet20, seen, "output", Cache(tmp_path)).weights(LAYER, choice)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert {file.suffix for file in files} == {".safetensors"}
    stamps = [file.stat().st_mtime_ns for file in files]
    _factors(resnet20, seen, "output", Cache(tmp_path)).weights(LAYER, choice)
    assert [file.stat().st_mtime_ns for file in files] == stamps
    assert not caplog.text
    whole = [file.read_bytes() for file in files]
    flipped = bytearray(whole[1])
    flipped[-5] ^= 64
    files[0].write_bytes(whole[0][:-9])
    files[1].write_bytes(flipped)
    again = _factors(resnet20, seen, "output", Cache(tmp_path)).weights(LAYER, choice)
    assert caplog.text.count("made anew") == 2
    assert [file.read_bytes() for file in files] == whole
    for one, other in zip(made.pairs, again.pairs, strict=True):
        assert torch.equal(one.first, other.first)


def test_other_weights_moments_and_methods_have_other_files(
    resnet20: nn.Module, seen: Seen, tmp_path: Path
) -> None:
    choice, cache = Choice.parse("separable:r7"), Cache(tmp_path)
    changed = (
        find_layers(resnet20, torch.zeros(1, 3, 32, 32)),
        {
            name: Moment(2 * moment.second, moment.mean, moment.count)
            for name, moment in seen[1].items()
        },
    )
    for given in (seen, changed):
        _factors(resnet20, given, "output", cache).weights(LAYER, choice)
    _factors(resnet20, seen, "whitened", cache).weights(LAYER, choice)
    _factors(resnet20, seen, "plain", cache).weights(LAYER, choice)
    _factors(resnet20, changed, "plain", cache).weights(LAYER, choice)  # moments do not matter
    _factors(resnet20, seen, "plain", cache).weights("layer2.1.conv2", choice)
    assert len(list(tmp_path.iterdir())) == 5


HASH = """
import torch
from torch import nn
from brpnas.lowrank import Choice, Factors, content_hash, find_layers, gather_moments
torch.manual_seed(0)
model, x = nn.Sequential(nn.Conv2d(4, 8, 3)), torch.randn(9, 4, 6, 6)
layers = find_layers(model, x)
factors = Factors(model, layers, "output", gather_moments(model, layers, [x]))
pairs = factors.weights("0", Choice.parse("separable:r3+input:g2:r2")).pairs
found = content_hash(*(part for pair in pairs for part in (pair.first, *pair.second)))
"""


def test_another_process_finds_the_same_weights() -> None:
    here: dict[str, str] = {}
    exec(HASH, here)  # noqa: S102 - the same text as there
    command = [sys.executable, "-c", f"{HASH}\nprint(found)"]
    there = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert here["found"] == there.strip()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("layer2.1.conv", "plain:r1", "Did you mean 'layer2.1.conv"),
        (LAYER, "separable:r97", "the greatest rank of separable is 96"),
        (LAYER, "input:g3:r1", "its schemes are separable, input:g1, input:g2"),
        ("linear", "separable:r1", "its schemes are plain"),
        ("linear", "rows:g3:r3", "its schemes are plain"),
    ],
)
def test_choices_that_a_layer_does_not_have(
    resnet20: nn.Module, seen: Seen, name: str, text: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        _factors(resnet20, seen, "plain").weights(name, Choice.parse(text))


def test_methods_that_cannot_be(resnet20: nn.Module, seen: Seen, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Choices: plain, whitened, output"):
        Factors(resnet20, seen[0], "best")
    with pytest.raises(UserError, match="nothing is known of what layer 'conv1' sees"):
        Factors(resnet20, seen[0], "output")
    with pytest.raises(UserError, match="needs calibration images"):
        decompose(Scheme("plain"), torch.ones(1, 1, 1, 1), None, METHODS["output"])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="no folder for a cache"):
        Cache(tmp_path / "file")
