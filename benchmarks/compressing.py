"""Points of accuracy that a network loses when it is compressed, by strategy, budget and target.

    python benchmarks/compressing.py resnet20-cifar WEIGHTS --calibration C.npz --test T.npz
        [--strategy knapsack ...] [--budget 60 ...] [--target 0.7 0.6 0.5 0.4] [--repair none lsq]
        [--seeds 3]

For each seed, strategy and budget one search of the whole front; then for each target the version
with the highest fidelity among those that cost no more. Seconds are of the processor, and include
what strategies share: images seen, layers decomposed and weighed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from brpnas.compressing.searching import SearchSettings, search_versions
from brpnas.compressing.subject import Subject, prepare, read_subject
from brpnas.evaluate.compressed import accuracy_pct
from brpnas.lowrank import replace
from brpnas.lowrank.repair import repair
from brpnas.run import Run
from brpnas.search import FrontMember
from brpnas.spaces import LowRankNetwork


@contextlib.contextmanager
def no_bars(_: str) -> Iterator[Callable[[float, int], None]]:
    """Show nothing."""
    yield lambda _done, _total: None


def read(options: argparse.Namespace, seed: int) -> Subject:
    """Load and weigh the network."""
    loaded, images = read_subject(
        options.model,
        options.weights,
        options.calibration,
        options.test,
        labels=False,
        most=4096,
        seed=seed,
    )
    return prepare(
        loaded,
        images,
        cost=options.cost,
        seed=seed,
        bars=no_bars,
        method=options.method,
        options=options.options,
    )


def main() -> None:
    """Search, finish, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--strategy", nargs="+", default=["knapsack"])
    parser.add_argument("--predictor", default="gcn")
    parser.add_argument("--budget", nargs="+", type=int, default=[60])
    parser.add_argument("--cost", default="macs", choices=["macs", "params"])
    parser.add_argument("--options", type=int, default=16)
    parser.add_argument("--method", default="output")
    parser.add_argument("--target", nargs="+", type=float, default=[0.7, 0.6, 0.5, 0.4])
    parser.add_argument("--repair", nargs="+", default=["none"])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    found: dict[tuple[str, int, float, str], list[float]] = {}
    for seed in range(options.seeds):
        started = time.process_time()
        subject = read(options, seed)
        prepared = time.process_time() - started
        assert subject.images.test is not None
        whole = accuracy_pct(subject.model, *subject.images.test)
        print(f"seed {seed}: {whole:.2f}% as it is; prepared in {prepared:.0f} s")
        for strategy, budget in itertools.product(options.strategy, options.budget):
            started = time.process_time()
            settings = SearchSettings(strategy, options.predictor, options.cost, budget, seed=seed)
            with tempfile.TemporaryDirectory() as folder, Run(folder, {}, seed) as run:
                searched = search_versions(subject, settings, None, run, no_bars)
            spent = prepared + time.process_time() - started
            cost = searched.original[options.cost]
            for target in options.target:
                within = [
                    m for m in searched.front.members if m.metrics[options.cost] <= target * cost
                ]
                best = max(within, key=lambda member: member.metrics["fidelity"], default=None)
                if best is None:
                    print(f"  {strategy}, {budget} versions: none at {target:g}", flush=True)
                    continue
                for name in options.repair:
                    started = time.process_time()
                    after = finished(subject, best, name, seed)
                    lost = accuracy_pct(after, *subject.images.test) - whole
                    found.setdefault((strategy, budget, target, name), []).append(lost)
                    print(
                        f"  {strategy}, {budget} versions, "
                        f"{100 * (best.metrics[options.cost] / cost - 1):+.1f}% "
                        f"{options.cost}, repair {name}: {lost:+.2f} points, fidelity "
                        f"{best.metrics['fidelity']:.4f}; search {spent:.0f} s, repair and test "
                        f"{time.process_time() - started:.0f} s",
                        flush=True,
                    )
    for (strategy, budget, target, name), points in found.items():
        each = ", ".join(f"{one:+.2f}" for one in points)
        print(
            f"{strategy}, {budget} versions, at {target:g}, repair {name}: "
            f"median {np.median(points):+.2f} of {len(points)} ({each})"
        )


def finished(
    subject: Subject, member: FrontMember[LowRankNetwork], name: str, seed: int
) -> torch.nn.Module:
    """Return a version, repaired."""
    choices = member.arch.choices
    smaller, _ = replace(subject.model, choices, subject.factors)
    return repair(
        name,
        subject.model,
        smaller,
        choices,
        subject.images.fitted[0],
        bounds=subject.images.bounds,
        seed=seed,
    )


if __name__ == "__main__":
    main()
