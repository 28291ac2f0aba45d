"""Time all low-rank decompositions of a network, and check what uniform compression costs it.

    python benchmarks/lowrank.py WEIGHTS [--model resnet56-cifar]
    python benchmarks/lowrank.py WEIGHTS --model resnet20-cifar --calibration C.npz --test T.npz

Without images: the time for all layers in all schemes, with second moments of noise; the ranks of
one are slices of what is found. With them: accuracy, with ``separable`` at half of the
multiply-accumulates of each layer but the first, of each way to find the weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from brpnas.evaluate.compressed import accuracy_pct
from brpnas.lowrank import (
    METHODS,
    Choice,
    Factors,
    Layers,
    Moment,
    Pair,
    Scheme,
    find_layers,
    gather_moments,
    moment_bytes,
    replace,
    schemes_for,
)
from brpnas.models import BUILTIN, LoadedModel, load_model

BATCH = 64


def time_decompositions(model: nn.Module, layers: Layers, method: str) -> None:
    """Decompose every layer in every scheme."""
    rng = np.random.default_rng(0)
    moments = {}
    for name, shape in layers.shapes.items():
        z = torch.from_numpy(rng.normal(size=(2 * shape.patch, shape.patch)))
        moments[name] = Moment(z.T @ z / len(z), z.mean(0), len(z))
    start = time.perf_counter()
    factors = Factors(model, layers, method, moments)
    schemes = ranks = 0
    for name, shape in layers.shapes.items():
        for scheme in schemes_for(shape):
            energy = factors.energy(name, scheme)
            schemes += 1
            ranks += len(scheme.ranks(shape))
            assert energy.isfinite().all()
    wall = time.perf_counter() - start
    print(f"{method}: {schemes} decompositions, {ranks} ranks, in {wall:.1f} s")


def read(model: LoadedModel, path: Path) -> tuple[Tensor, Tensor]:
    """Return images, normalised as the network expects, and their classes."""
    images = model.read_images(path)
    assert images.y is not None
    return images.tensor(model.normalisation), torch.from_numpy(images.y)


def compare_methods(
    model: nn.Module, layers: Layers, calibration: Tensor, test: tuple[Tensor, Tensor]
) -> None:
    """Print the accuracy with separable pairs everywhere, at half the multiply-accumulates."""
    start = time.perf_counter()
    moments = gather_moments(model, layers, torch.split(calibration, BATCH), len(calibration))
    print(
        f"{len(calibration)} images seen in {time.perf_counter() - start:.1f} s, "
        f"{moment_bytes(layers) / 1e6:.0f} MB of moments"
    )
    separable = Scheme("separable")
    choices = {
        layer: Choice((Pair(separable, max(1, shape.macs // (2 * int(separable.macs(shape, 1))))),))
        for layer, shape in list(layers.shapes.items())[1:]  # the first one sees too little
        if separable in schemes_for(shape)
    }
    dense = sum(shape.macs for shape in layers.shapes.values())
    macs = sum(choices.get(n, Choice()).macs(shape) for n, shape in layers.shapes.items())
    before = accuracy_pct(model, *test)
    print(f"as it is: {before:.2f}%; compressed: {100 * (macs / dense - 1):+.1f}% macs")
    for method in METHODS:
        smaller, _ = replace(model, choices, Factors(model, layers, method, moments))
        print(f"  {method}: {accuracy_pct(smaller, *test) - before:+.2f} points")


def main() -> None:
    """Time, or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", default="resnet56-cifar", choices=list(BUILTIN))
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--test", type=Path)
    options = parser.parse_args()
    loaded = load_model(options.model, options.weights)
    model = loaded.module
    layers = find_layers(model, torch.zeros(1, *BUILTIN[options.model].image_shape))
    if options.calibration is None:
        for method in METHODS:
            time_decompositions(model, layers, method)
    else:
        calibration, _ = read(loaded, options.calibration)
        compare_methods(model, layers, calibration, read(loaded, options.test))


if __name__ == "__main__":
    main()
