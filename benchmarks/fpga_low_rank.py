"""How long low-rank versions of ResNet-20 take on an FPGA, and how soon that is known.

    python benchmarks/fpga_low_rank.py [--versions 60] [--platform zc706] [--seed 0]

Layers, schemes, ranks and sums of two pairs are drawn at random; weights do not matter. Each
version is mapped for the least time of one image, on the whole board. Printed are a line for each,
then the correlation of times with multiply-accumulates, and the processor's seconds.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import spearmanr

from brpnas.devices.fpga import FPGADevice, network_of, read_platform
from brpnas.lowrank import (
    DENSE,
    Choice,
    Factors,
    LayerShape,
    Pair,
    find_layers,
    replace,
    schemes_for,
)
from brpnas.models.resnet_cifar import resnet_cifar

IMAGE = torch.zeros(1, 3, 32, 32)
TWO_PAIRS = 0.2
"""Share of the replaced layers that become a sum of two pairs."""
NEAR = 0.03
"""Versions whose multiply-accumulates differ by no more are compared with each other."""


def drawn_pair(shape: LayerShape, share: float, rng: np.random.Generator) -> Pair | None:
    """Return a pair with at most this share of a layer's multiply-accumulates, if there is one."""
    schemes = list(schemes_for(shape))
    rng.shuffle(schemes)
    for scheme in schemes:
        ranks = scheme.ranks(shape)
        fitting = ranks[scheme.macs(shape, ranks) <= share * shape.macs]
        if len(fitting):
            return Pair(scheme, int(fitting[-1]))
    return None


def drawn_choice(shape: LayerShape, share: float, rng: np.random.Generator) -> Choice:
    """Return what may take a layer's place with about this share of its multiply-accumulates."""
    if rng.random() < TWO_PAIRS:
        pairs = [drawn_pair(shape, part * share, rng) for part in (0.6, 0.4)]
        found = tuple(pair for pair in pairs if pair)
        if len({pair.scheme for pair in found}) == 2:
            return Choice(found)
    pair = drawn_pair(shape, share, rng)
    return Choice((pair,)) if pair else DENSE


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each version, and what they have in common."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", type=int, default=60)
    parser.add_argument("--platform", default="zc706")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    model = resnet_cifar(20).eval()
    layers = find_layers(model, IMAGE)
    factors = Factors(model, layers, "plain")
    device, rng = FPGADevice(read_platform(options.platform)), np.random.default_rng(options.seed)
    dense_ms = device.map(network_of(model, IMAGE)).seconds * 1000
    dense_macs = sum(shape.macs for shape in layers.shapes.values())
    print(f"dense: {dense_macs / 1e6:.2f} million multiply-accumulates, {dense_ms:.4f} ms")
    rows = []
    for version in range(options.versions):
        target, replaced = rng.uniform(0.25, 1), rng.uniform(0.3, 1)
        choices = {
            name: drawn_choice(shape, float(np.clip(rng.normal(target, 0.15), 0.1, 1)), rng)
            for name, shape in layers.shapes.items()
            if rng.random() < replaced
        }
        smaller, _ = replace(model, choices, factors)
        macs = sum(choices.get(name, DENSE).macs(shape) for name, shape in layers.shapes.items())
        network = network_of(smaller, IMAGE, f"version {version}")
        start = time.process_time()
        design = device.map(network)
        rows.append((macs, design.seconds * 1000, time.process_time() - start))
        weighted = sum(1 for node in network.nodes if node.weights)
        print(
            f"{version:3}: {macs / 1e6:6.2f} million, {weighted} layers with weights, "
            f"{len(design.parts)} part(s), {rows[-1][1]:.4f} ms, {rows[-1][2]:.2f} s",
            flush=True,
        )
    macs_of, ms, cpu_s = np.array(rows).T
    ratios = [
        max(one[1], other[1]) / min(one[1], other[1])
        for one, other in itertools.combinations(rows, 2)
        if abs(one[0] / other[0] - 1) <= NEAR
    ]
    print(
        f"Spearman {spearmanr(macs_of, ms).statistic:.3f}; {macs_of.min() / 1e6:.1f} to "
        f"{macs_of.max() / 1e6:.1f} million, {ms.min():.3f} to {ms.max():.3f} ms; within "
        f"{NEAR:.0%} of the count, times differ by {np.median(ratios) - 1:.0%} (median) to "
        f"{max(ratios) - 1:.0%}; {int((ms > dense_ms).sum())} slower than the dense one; CPU "
        f"seconds: median {np.median(cpu_s):.2f}, most {cpu_s.max():.2f}"
    )


if __name__ == "__main__":
    main()
