"""How long the pieces of a low-rank search take: what layers saw, decompositions, one candidate.

    python benchmarks/low_rank_speed.py resnet56-cifar WEIGHTS --calibration C.npz

Seconds of the clock, on as many threads as torch takes. A candidate is a random version that was
not seen before, judged alone on the images that judge: its weights are made in that time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from compressing import no_bars

from brpnas.compressing.subject import prepare, read_subject
from brpnas.evaluate.compressed import CompressedEvaluator
from brpnas.lowrank import Factors, find_layers, gather_moments, schemes_for
from brpnas.spaces import LowRankNetwork


def main() -> None:
    """Time each piece and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=10)
    options = parser.parse_args()
    loaded, images = read_subject(
        options.model, options.weights, options.calibration, None, labels=False, most=4096, seed=0
    )
    model, (fitted, _), (judged, _) = loaded.module, images.fitted, images.judged
    started = time.perf_counter()
    layers = find_layers(model, fitted[:1])
    moments = gather_moments(model, layers, torch.split(fitted, 64), len(fitted))
    print(f"what layers saw, {len(fitted)} images: {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    factors = Factors(model, layers, "output", moments)
    ranks = sum(
        len(factors.errors(name, scheme))
        for name, shape in layers.shapes.items()
        for scheme in schemes_for(shape)
    )
    spent = time.perf_counter() - started
    print(f"{ranks:,} ranks of all schemes of {len(layers.shapes)} layers: {spent:.1f} s")
    subject = prepare(loaded, images, cost="macs", seed=0, bars=no_bars)
    evaluator: CompressedEvaluator[LowRankNetwork] = CompressedEvaluator(
        model, subject.layers, subject.factors, judged
    )
    seconds = []
    for arch in subject.space.draw(options.candidates, np.random.default_rng(0)):
        started = time.perf_counter()
        list(evaluator.evaluate([arch]))
        seconds.append(time.perf_counter() - started)
    print(
        f"a candidate on {len(judged)} images: median {np.median(seconds):.2f} s, at most "
        f"{max(seconds):.2f} s of {len(seconds)}"
    )


if __name__ == "__main__":
    main()
