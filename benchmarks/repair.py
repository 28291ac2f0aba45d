"""Points lost by uniform low-rank compression, before and after each repair.

    python benchmarks/repair.py WEIGHTS --model resnet20-cifar --calibration C.npz --test T.npz

Each layer but the first and the last gets one pair (``--family``), of the greatest rank that keeps
the layer within the given share of its multiply-accumulates; its weights are found from calibration
images (method ``output``), for repairs that do without from the layer's own (``plain``). Seconds
are CPU time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from brpnas.compressing.subject import pixel_bounds
from brpnas.evaluate.compressed import accuracy_pct
from brpnas.lowrank import (
    Choice,
    Factors,
    Layers,
    Pair,
    find_layers,
    gather_moments,
    greatest_rank,
    replace,
    schemes_for,
)
from brpnas.lowrank.repair import REPAIRS, repair
from brpnas.models import BUILTIN, LoadedModel, load_model

BATCH = 64


def uniform(layers: Layers, family: str, share: float) -> dict[str, Choice]:
    """Return a pair of a family for each layer that has it, at a share of its costs."""
    choices = {}
    for name, shape in list(layers.shapes.items())[1:-1]:
        for scheme in schemes_for(shape):
            if family in (str(scheme), scheme.family):
                rank = int(share * shape.macs / int(scheme.macs(shape, 1)))
                rank = min(max(int(scheme.ranks(shape)[0]), rank), greatest_rank(shape, scheme))
                choices[name] = Choice((Pair(scheme, rank),))
                break
    return choices


def compare(
    loaded: LoadedModel,
    calibration: Tensor,
    test: tuple[Tensor, Tensor],
    choices: dict[str, Choice],
    layers: Layers,
    names: Sequence[str],
    seed: int,
) -> None:
    """Print points lost before and after each repair."""
    model = loaded.module
    assert loaded.normalisation is not None
    batches = torch.split(calibration, BATCH)
    moments = gather_moments(model, layers, batches, len(calibration))
    smaller = {
        method: replace(model, choices, Factors(model, layers, method, moments))[0]
        for method in ("plain", "output")
    }
    before = accuracy_pct(model, *test)
    dense = sum(shape.macs for shape in layers.shapes.values())
    macs = sum(choices.get(n, Choice()).macs(shape) for n, shape in layers.shapes.items())
    print(f"as it is {before:.2f}%; {100 * (macs / dense - 1):+.1f}% macs", flush=True)
    for method, network in smaller.items():
        print(f"  {method}: {accuracy_pct(network, *test) - before:+.2f} points", flush=True)
    for name in names:
        start = time.process_time()
        seen = REPAIRS[name].needs_images
        repaired = repair(
            name,
            model,
            smaller["output" if seen else "plain"],
            choices,
            calibration if seen else None,
            image_shape=loaded.image_shape,
            bounds=pixel_bounds(loaded.normalisation),
            seed=seed,
        )
        seconds = time.process_time() - start
        lost = accuracy_pct(repaired, *test) - before
        print(f"  repaired by {name}: {lost:+.2f} points, {seconds:.0f} s", flush=True)


def main() -> None:
    """Read the options, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", default="resnet20-cifar", choices=list(BUILTIN))
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--family", default="separable", help="separable, plain, input:g1, ...")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--repair", nargs="+", default=list(REPAIRS)[1:], choices=list(REPAIRS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(options.model, options.weights)
    calibration = loaded.read_images(options.calibration).tensor(loaded.normalisation)
    test = loaded.read_images(options.test)
    assert test.y is not None
    labelled = test.tensor(loaded.normalisation), torch.from_numpy(test.y)
    layers = find_layers(loaded.module, calibration[:1])
    choices = uniform(layers, options.family, options.share)
    compare(loaded, calibration, labelled, choices, layers, options.repair, options.seed)


if __name__ == "__main__":
    main()
