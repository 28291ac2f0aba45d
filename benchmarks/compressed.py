"""Time what judging compressed networks costs: alone, and many that share their beginnings.

    python benchmarks/compressed.py WEIGHTS --calibration C.npz [--model resnet20-cifar]

CPU seconds of this process on one thread, so that other work on the machine matters less.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from brpnas.evaluate.compressed import CompressedEvaluator
from brpnas.lowrank import (
    Choice,
    Factors,
    Layers,
    Pair,
    find_layers,
    gather_moments,
    replace,
    schemes_for,
)
from brpnas.models import BUILTIN, load_model


@dataclass(frozen=True, eq=False)
class Version:
    """Choices by the layer's name."""

    choices: dict[str, Choice]


def share(layers: Layers, name: str, part: float) -> Choice:
    """Return the first scheme of a layer at a share of its multiply-accumulates."""
    shape = layers.shapes[name]
    scheme = schemes_for(shape)[0]
    return Choice((Pair(scheme, max(1, int(part * shape.macs / int(scheme.macs(shape, 1))))),))


def main() -> None:
    """Time moments, errors of all ranks, and evaluations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", default="resnet20-cifar", choices=list(BUILTIN))
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1024)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(options.model, options.weights)
    model, images = loaded.module, loaded.read_images(options.calibration)
    layers = find_layers(model, torch.zeros(1, *BUILTIN[options.model].image_shape))
    names = list(layers.shapes)
    mark = time.process_time()

    def lap(what: str, each: int = 1) -> None:
        nonlocal mark
        print(f"{what}: {(time.process_time() - mark) / each:.3f} CPU s", flush=True)
        mark = time.process_time()

    batches = images.batches(64, loaded.normalisation)
    moments = gather_moments(model, layers, batches, len(images))
    lap(f"moments of {len(images):,} images")
    factors = Factors(model, layers, "output", moments)
    schemes = [(name, scheme) for name in names for scheme in schemes_for(layers.shapes[name])]
    for name, scheme in schemes:
        factors.energy(name, scheme)
    lap(f"decompositions in {len(schemes)} schemes")
    for name, scheme in schemes:
        factors.errors(name, scheme)
    lap("errors of all their ranks")

    x = images.sample(options.images, 0).tensor(loaded.normalisation)
    mark = time.process_time()
    evaluator: CompressedEvaluator[Version] = CompressedEvaluator(model, layers, factors, x)
    lap("set-up of the evaluator")
    half = Version({name: share(layers, name, 0.5) for name in names[1:-1]})
    list(evaluator.evaluate([half]))
    lap(f"all layers at half, on {len(x):,} images")
    list(evaluator.evaluate([half]))
    lap("the same with its weights known")
    smaller, _ = replace(model, half.choices, factors)
    with torch.no_grad():
        for batch in torch.split(x, 64):
            smaller(batch)
    lap("the same by surgery and a plain pass")
    parts = [(i + 1) / 33 for i in range(32)]
    for name in (names[0], names[len(names) // 2], names[-2]):
        versions = [Version({name: share(layers, name, part)}) for part in parts]
        list(evaluator.evaluate(versions))
        lap(f"{name} alone, each of {len(versions)}", len(versions))


if __name__ == "__main__":
    main()
