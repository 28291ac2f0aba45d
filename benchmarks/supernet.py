"""Search the low-rank versions of a network by gradients, and say what they lose and cost.

    python benchmarks/supernet.py WEIGHTS --calibration C.npz --test T.npz [--model resnet20-cifar]
        [--reductions 30 40 50] [--seed 0] [--warm] [--labels] [--published 16] [--cache FOLDER]

Options: for each layer but the first, in every scheme, ranks at LOW to 85% of the layer's
multiply-accumulates in steps of 5 points, as far as none that costs no more has a smaller error.
The last quarter of the calibration images is held out: KL(original || compressed) on it is what
settings are to be chosen by. Times are seconds of CPU. With a cache, a search as published that
was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.lowrank import (
    DENSE,
    Cache,
    Choice,
    Factors,
    Layers,
    Moment,
    Pair,
    cached_moments,
    content_hash,
    find_layers,
    gather_moments,
    greatest_rank,
    model_hash,
    replace,
    schemes_for,
)
from brpnas.lowrank.costs import Budget, Penalty
from brpnas.lowrank.gradient import from_errors, train_supernet
from brpnas.lowrank.schedule import GradientSchedule
from brpnas.lowrank.supernet import SuperNetwork
from brpnas.models import BUILTIN, load_model

BATCH = 128


def list_options(layers: Layers, factors: Factors, low: int) -> dict[str, list[Choice]]:
    """Return the options of each layer but the first: no other is both cheaper and better."""
    options = {}
    for name, shape in list(layers.shapes.items())[1:]:
        found = set()
        for scheme in schemes_for(shape):
            for percent in range(low, 90, 5):
                rank = percent * shape.macs // 100 // int(scheme.macs(shape, 1))
                if int(scheme.ranks(shape)[0]) <= rank <= greatest_rank(shape, scheme):
                    found.add(Choice((Pair(scheme, rank),)))
        front, least = [DENSE], float("inf")
        for choice in sorted(found, key=lambda c: (c.macs(shape), factors.error(name, c))):
            if factors.error(name, choice) < least:
                least = factors.error(name, choice)
                front.append(choice)
        options[name] = front
    return options


@torch.no_grad()
def scores(model: nn.Module, images: Tensor) -> Tensor:
    """Return what a network says of images."""
    return torch.cat([model(x) for x in torch.split(images, BATCH)])


class Judge:
    """Says what choices save and lose."""

    def __init__(
        self,
        model: nn.Module,
        factors: Factors,
        held_out: Tensor,
        test: tuple[Tensor, Tensor] | None,
    ) -> None:
        self._model, self._factors = model, factors
        self._held_out, self._test = held_out, test
        self._expected = scores(model, held_out).log_softmax(1)
        if test is not None:
            self._before = self._correct_pct(model, test)
            print(f"as it is: {self._before:.2f}% of the test images", flush=True)

    def say(self, title: str, choices: Mapping[str, Choice], spent_s: float) -> None:
        """Print a line."""
        smaller, report = replace(self._model, choices, self._factors)
        dense = sum(shape.macs for shape in self._factors.layers.shapes.values())
        saved = sum(done.macs[0] - done.macs[1] for done in report.replaced.values())
        found = scores(smaller, self._held_out).log_softmax(1)
        kl = float(F.kl_div(found, self._expected, reduction="batchmean", log_target=True))
        line = f"{title}: macs -{100 * saved / dense:.1f}%, KL held out {kl:.4f}"
        if self._test is not None:
            lost = self._correct_pct(smaller, self._test) - self._before
            line += f", test {lost:+.2f} points"
        print(f"{line}, {spent_s:.0f} s", flush=True)

    @staticmethod
    def _correct_pct(model: nn.Module, images: tuple[Tensor, Tensor]) -> float:
        return 100 * float((scores(model, images[0]).argmax(1) == images[1]).double().mean())


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", default="resnet20-cifar", choices=list(BUILTIN))
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--reductions", type=int, nargs="+", default=[30, 40, 50])
    parser.add_argument("--low", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps", type=int, help="of each of the epochs; 0: only what it starts from"
    )
    parser.add_argument("--warm", action="store_true", help="start from the reduction before")
    parser.add_argument("--labels", action="store_true", help="cross-entropy with the labels")
    parser.add_argument(
        "--published",
        type=float,
        nargs="*",
        default=[],
        metavar="BETA",
        help="search as SVD-NAS did too, with these weights of its penalty: an hour or two each",
    )
    parser.add_argument("--cache", type=Path, help="folder of what takes long")
    return parser.parse_args()


def main() -> None:
    """Search, and print one line for each reduction."""
    asked = parse()
    torch.set_num_threads(1)
    loaded = load_model(asked.model, asked.weights)
    model = loaded.module.eval()
    images = loaded.read_images(asked.calibration)
    x = images.tensor(loaded.normalisation)
    y = None if images.y is None or not asked.labels else torch.from_numpy(images.y)
    held = len(x) // 4
    seen, rest = x[:-held], x[-held:]

    layers = find_layers(model, x[:1])
    cache = None if asked.cache is None else Cache(asked.cache)

    start = time.process_time()

    def gather() -> dict[str, Moment]:
        return gather_moments(model, layers, torch.split(seen, BATCH))

    key = content_hash(model_hash(model.state_dict()), seen)
    moments = gather() if cache is None else cached_moments(cache, key, gather)
    factors = Factors(model, layers, "output", moments, cache)
    options = list_options(layers, factors, asked.low)
    print(
        f"{sum(map(len, options.values()))} options: {time.process_time() - start:.0f} s",
        flush=True,
    )
    start = time.process_time()
    shapes = layers.shapes
    costs = {name: [c.macs(shapes[name]) for c in all_] for name, all_ in options.items()}
    dense = sum(shape.macs for shape in shapes.values())
    fixed = sum(shape.macs for name, shape in shapes.items() if name not in options)
    network = SuperNetwork(model, factors, options, costs, fixed)
    errors = {name: [factors.error(name, c) for c in all_] for name, all_ in options.items()}
    print(f"super-network: {time.process_time() - start:.0f} s")

    test: tuple[Tensor, Tensor] | None = None
    if asked.test is not None:
        tested = loaded.read_images(asked.test)
        assert tested.y is not None
        test = tested.tensor(loaded.normalisation), torch.from_numpy(tested.y)
    judge = Judge(model, factors, rest, test)

    labels = None if y is None else y[:-held]
    theta = from_errors(errors)
    for reduction in asked.reductions:
        goal = Budget((1 - reduction / 100) * dense)
        start = time.process_time()
        if asked.steps == 0:
            still = GradientSchedule(epochs=1, steps=1, batch=1, learning_rate=1e-12)
            chosen = train_supernet(network, seen, labels, goal, still, start=theta)
        else:
            plan = GradientSchedule()
            plan = dataclasses.replace(plan, steps=asked.steps or plan.steps)
            chosen = train_supernet(network, seen, labels, goal, plan, seed=asked.seed, start=theta)
        judge.say(f"budget -{reduction}%", chosen.choices, time.process_time() - start)
        if asked.warm:
            theta = dict(chosen.parameters)
    for beta in asked.published:
        start = time.process_time()
        chosen = train_supernet(
            network,
            seen,
            labels,
            Penalty(beta),
            GradientSchedule.published(len(seen)),
            seed=asked.seed,
            folder=asked.cache,
            progress=lambda done, of: print(f"\repoch {done} of {of}", end="", flush=True),
        )
        print()
        judge.say(f"published, beta {beta:g}", chosen.choices, time.process_time() - start)


if __name__ == "__main__":
    main()
