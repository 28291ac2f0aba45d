from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.evaluate.compressed import CompressedEvaluator, accuracy_pct
from brpnas.lowrank import Choice, Factors, LayerWeights, find_layers, replace
from brpnas.models import load_model


@dataclass(frozen=True)
class Version:
    choices: Mapping[str, Choice] = field(hash=False)


def _version(**choices: str) -> Version:
    return Version({name.replace("__", "."): Choice.parse(c) for name, c in choices.items()})


STRONG = _version(layer1__0__conv1="separable:r1", layer2__1__conv1="output:g4:r1")
MILD = _version(layer3__1__conv1="separable:r100")
Loaded = tuple[nn.Module, Tensor, Tensor]


@pytest.fixture(scope="module")
def loaded(shared: Path) -> Loaded:
    """ResNet-20 with 192 training images, normalised, and their classes."""
    weights = shared / "weights" / "resnet20_cifar10_akamaster.safetensors"
    model = load_model("resnet20-cifar", weights)
    images = model.read_images(shared / "data" / "cifar10_train_calib_4096.npz").sample(192, 0)
    assert images.y is not None
    return model.module, images.tensor(model.normalisation), torch.from_numpy(images.y)


def _evaluator(
    loaded: Loaded,
    labels: bool = True,
    source: type[Factors] = Factors,
) -> tuple[CompressedEvaluator[Version], Factors]:
    model, x, y = loaded
    layers = find_layers(model, x[:1])
    factors = source(model, layers, "plain")
    return CompressedEvaluator(model, layers, factors, x, y if labels else None), factors


def test_metrics_are_those_of_the_network_built(loaded: Loaded) -> None:
    evaluator, factors = _evaluator(loaded)
    model, x, y = loaded
    original = torch.log_softmax(model(x).detach(), 1)
    found = list(evaluator.evaluate([STRONG, Version({}), MILD]))
    for version, evaluation in zip((STRONG, Version({}), MILD), found, strict=True):
        assert evaluation.error is None
        assert tuple(evaluation.metrics) == evaluator.metrics
        network, _ = replace(model, version.choices, factors)
        scores = torch.log_softmax(network(x).detach(), 1)
        top = scores.argmax(1)
        assert evaluation.metrics == pytest.approx(evaluator.judge(network), abs=1e-4)
        assert evaluation.metrics == pytest.approx(
            {
                "fidelity": -float((original.exp() * (original - scores)).sum(1).mean()),
                "agreement_pct": 100 * float((top == original.argmax(1)).double().mean()),
                "accuracy_pct": accuracy_pct(network, x, y),
                "log_likelihood": float(scores[range(192), y].mean()),
            },
            abs=1e-4,
        )
    strong, same, mild = (evaluation.metrics for evaluation in found)
    assert strong["fidelity"] < mild["fidelity"] < same["fidelity"] + 1e-6
    assert same == pytest.approx(evaluator.original)
    assert same["agreement_pct"] == 100


def test_without_labels_two_metrics(loaded: Loaded) -> None:
    evaluator, _ = _evaluator(loaded, labels=False)
    (found,) = evaluator.evaluate([MILD])
    assert tuple(found.metrics) == evaluator.metrics == ("fidelity", "agreement_pct")


@pytest.mark.parametrize("labels", [True, False])
def test_hopeless_networks_see_a_quarter_of_the_images(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, labels: bool
) -> None:
    whole, _ = _evaluator(loaded, labels)
    early, _ = _evaluator(loaded, labels)
    early.stop_below = -0.5
    seen = []
    per_image = CompressedEvaluator._per_image

    def counted(self: CompressedEvaluator[Version], number: int, scores: Tensor) -> Tensor:
        seen.append(number)
        return per_image(self, number, scores)

    expected = list(whole.evaluate([STRONG, MILD]))
    monkeypatch.setattr(CompressedEvaluator, "_per_image", counted)
    strong, mild = early.evaluate([STRONG, MILD])
    assert seen == [0, 0, 1, 2]
    assert mild == expected[1]
    assert strong.error is None
    assert early.objective == ("log_likelihood" if labels else "fidelity")
    assert strong.metrics[early.objective] < -0.5
    assert strong.metrics["fidelity"] != expected[0].metrics["fidelity"]


def test_networks_that_fail_do_not_disturb_the_others(loaded: Loaded) -> None:
    class Bad(Factors):
        def weights(self, name: str, choice: Choice) -> LayerWeights:
            found = super().weights(name, choice)
            assert found.bias is None
            return LayerWeights(found.pairs, torch.full((64,), torch.nan))

    evaluator, _ = _evaluator(loaded, source=Bad)
    unknown = _version(layer9="separable:r1")
    none, same, nan = evaluator.evaluate([unknown, Version({}), MILD])
    assert same.metrics["agreement_pct"] == 100
    assert "unknown layer 'layer9'" in str(none.error)
    assert nan.error == "its scores are not finite numbers"
    for failed in (none, nan):
        assert tuple(failed.metrics) == evaluator.metrics
        assert all(value != value for value in failed.metrics.values())


def test_many_networks_come_in_order(loaded: Loaded) -> None:
    evaluator, _ = _evaluator((loaded[0], loaded[1][:20], loaded[2][:20]))
    versions = [_version(linear=f"plain:r{1 + i % 9}") for i in range(70)]
    found = list(evaluator.evaluate(versions))
    assert found[:9] == found[9:18] == found[54:63]
    assert found[0].metrics["fidelity"] < found[8].metrics["fidelity"]


def test_images_that_do_not_fit(loaded: Loaded) -> None:
    model, x, y = loaded
    layers = find_layers(model, x[:1])
    factors = Factors(model, layers, "plain")
    for images, labels, said in (
        (x[:0], None, "no calibration images"),
        (x, y[:7], "192 calibration images, but labels of shape"),
        (x * torch.inf, None, "must be finite"),
    ):
        with pytest.raises(UserError, match=said):
            CompressedEvaluator(model, layers, factors, images, labels)


def test_one_class_cannot_be_compared(loaded: Loaded) -> None:
    _, x, _ = loaded
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 1))
    layers = find_layers(model, x[:1])
    with pytest.raises(UserError, match=r"two classes or more; theirs is \(\d+, 1\)"):
        CompressedEvaluator(model, layers, Factors(model, layers, "plain"), x)
