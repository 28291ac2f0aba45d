from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brpnas.models import load_model

RESNET20 = "resnet20_cifar10_akamaster.safetensors"


@pytest.fixture(scope="session")
def resnet20(shared: Path) -> nn.Module:
    return load_model("resnet20-cifar", shared / "weights" / RESNET20).module


@pytest.fixture(scope="session")
def vit(shared: Path) -> nn.Module:
    weights = shared / "weights" / "vit6x128_cifar10.safetensors"
    return load_model("vit6x128-cifar", weights).module


@pytest.fixture(scope="session")
def images(shared: Path) -> Tensor:
    """CIFAR-10 training images, shape (64, 3, 32, 32), scaled about as the networks expect."""
    with np.load(shared / "data" / "cifar10_train_calib_4096.npz") as arrays:
        x = arrays["x"][:64]
    pixels = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
    return ((pixels - 0.45) / 0.225).contiguous()


@pytest.fixture
def apart() -> Callable[[nn.Module, nn.Module, Tensor], float]:
    """Return by how much the outputs of two networks differ, as a share of the greatest."""

    def distance(one: nn.Module, other: nn.Module, x: Tensor) -> float:
        with torch.no_grad():
            expected = one(x)
            return float((other(x) - expected).abs().max() / expected.abs().max())

    return distance
