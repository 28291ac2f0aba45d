from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.models import read_metadata, read_weights
from brpnas.models.weights import fill

Weights = dict[str, Tensor]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_weights_are_copied(tmp_path: Path) -> None:
    one, other = network(), network()
    save_file(one.state_dict(), tmp_path / "w.safetensors", {"source": "here"})
    fill(other, read_weights(tmp_path / "w.safetensors"), "w", "n")
    for key, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    assert read_metadata(tmp_path / "w.safetensors") == {"source": "here"}


def test_weights_that_layers_share_need_one_key(tmp_path: Path) -> None:
    def shared() -> nn.Module:
        module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        module[1].weight = module[0].weight
        return module

    one, other = shared(), shared()
    save_model(one, tmp_path / "w.safetensors")
    kept = read_weights(tmp_path / "w.safetensors")
    assert len(kept) == 3
    fill(other, kept, "w", "n")
    for key, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    with pytest.raises(UserError, match="missing: "):
        fill(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), kept, "w", "n")


def test_half_precision_and_no_counts_of_batches() -> None:
    one, other = network(), network()
    halves = {
        key: value.half()
        for key, value in one.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    fill(other, halves, "w", "n")
    weight = other.get_parameter("0.weight")
    assert weight.dtype == torch.float32
    assert torch.equal(weight, halves["0.weight"].float())


def without(weights: Weights) -> None:
    del weights["0.weight"], weights["3.bias"]


def with_more(weights: Weights) -> None:
    weights.update({f"module.{key}": torch.ones(1) for key in range(7)})


def of_another_shape(weights: Weights) -> None:
    weights["3.weight"] = torch.ones(5, 4)


def of_another_kind(weights: Weights) -> None:
    weights["3.weight"] = torch.ones(2, 4, dtype=torch.int8)


def with_nan(weights: Weights) -> None:
    weights["1.running_var"] = torch.tensor([1, torch.nan, torch.inf, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, r"w\.safetensors does not fit net: missing: 0\.weight, 3\.bias$"),
        (with_more, r"unknown: module\.0, .*, module\.4 and 2 more$"),
        (of_another_shape, r"of another shape: 3\.weight \(\(5, 4\), not \(2, 4\)\)$"),
        (of_another_kind, r"of another kind: 3\.weight \(torch\.int8\)$"),
        (with_nan, r"w\.safetensors: NaN or infinity in 1\.running_var \(2 of 4\)$"),
    ],
)
def test_weights_that_do_not_fit(change: Callable[[Weights], None], message: str) -> None:
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    weights = dict(network().state_dict())
    change(weights)
    with pytest.raises(UserError, match=message):
        fill(module, weights, "w.safetensors", "net")
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])  # nothing was copied


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for read in (read_weights, read_metadata):
        with pytest.raises(UserError, match="No such file"):
            read(path)
    torch.save(network().state_dict(), path)
    with pytest.raises(UserError, match=r"w\.pth: not a safetensors .*pickles are not read"):
        read_weights(path)
    with pytest.raises(UserError, match="not a safetensors file"):
        read_metadata(path)
    whole = tmp_path / "w.safetensors"
    save_file(network().state_dict(), whole)
    content = whole.read_bytes()
    for length in (0, 4, 8, 100, len(content) - 1):
        whole.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"w\.safetensors: not a safetensors file"):
            read_weights(whole)
