"""Does it pay to search for latency instead of multiply-accumulates? Both fronts, in one picture.

    python benchmarks/latency_driven.py resnet20-cifar WEIGHTS --calibration C.npz --test T.npz
        --device fpga:zc706 --out FOLDER

Two searches of the same budget and strategy, one with ``--cost macs``, one with ``--cost latency``.
Then the latencies of the original, of every version that either tried, and of 40 random ones are
found once more, in turns: no search is favoured by the hour in which it ran. Of a device that is
timed it is the least of all samples, which hardly depends on what else a shared machine does, where
the median may double. Versions of both fronts by these latencies are tested. And how well the
latencies of the second front are predicted by what was learnt from other versions.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from compressing import no_bars
from numpy.typing import NDArray

from brpnas.compressing.costs import LatencySource, open_device
from brpnas.compressing.searching import SearchSettings, search_versions
from brpnas.compressing.subject import Subject, prepare, read_subject
from brpnas.evaluate.compressed import accuracy_pct
from brpnas.predictors import PREDICTORS
from brpnas.report.canvas import new_canvas, save_figure
from brpnas.run import Run
from brpnas.search import on_front
from brpnas.spaces import LowRankNetwork, LowRankSpace

LATENCY, LEAST = "latency_ms", "latency_ms_min"
_SEEDS = 4  # of the predictor: one more or less on a short front is chance


def main() -> None:
    """Search twice, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--strategy", default="brp")
    parser.add_argument("--predictor", default="gcn")
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    loaded, images = read_subject(
        options.model,
        options.weights,
        options.calibration,
        options.test,
        labels=False,
        most=4096,
        seed=options.seed,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    tried: dict[str, Tried] = {}
    surveyed: Mapping[LowRankNetwork, float] = {}
    with contextlib.ExitStack() as stack:
        device = open_device(options.device, options.out, stack, print, rounds=options.rounds)
        for cost in ("macs", "latency"):
            subject = prepare(loaded, images, cost=cost, seed=options.seed, bars=no_bars)
            run = stack.enter_context(Run(options.out / cost, {}, options.seed, resume=True))
            settings = SearchSettings(
                options.strategy, options.predictor, cost, options.budget, seed=options.seed
            )
            searched = search_versions(subject, settings, device, run, no_bars)
            # What was computed stays as it is; what was timed is timed again, in turns.
            surveyed = searched.surveyed if device.computed else {}
            found = (subject.space.parse(step.arch) for step in run.steps)
            tried[cost] = Tried(list(found), [step.metrics["fidelity"] for step in run.steps])
    with contextlib.ExitStack() as stack:
        again = options.out / "in_turns"
        again.mkdir(exist_ok=True)
        device = open_device(options.device, again, stack, print, rounds=4 * options.rounds)
        report = compare(subject, device, tried, options.predictor, surveyed)
    (options.out / "latency_driven.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    draw(report, options.device, options.out / "latency_driven.png")


@dataclass(frozen=True)
class Tried:
    """The versions of a search, and their fidelities."""

    archs: list[LowRankNetwork]
    fidelities: list[float]


def compare(
    subject: Subject,
    device: LatencySource,
    tried: dict[str, Tried],
    predictor: str,
    surveyed: Mapping[LowRankNetwork, float],
) -> dict[str, Any]:
    """Measure all in turns, test the best at each latency, and judge predictions."""
    assert subject.images.test is not None
    test = subject.images.test
    dense = LowRankNetwork()
    survey = subject.space.draw(40, np.random.default_rng(1))
    every = list(dict.fromkeys([dense, *survey, *(a for one in tried.values() for a in one.archs)]))
    found = device.evaluator(subject).evaluate(every)
    latencies = {
        arch: one.metrics.get(LEAST, one.metrics[LATENCY])
        for arch, one in zip(every, found, strict=True)
    }
    whole = latencies[dense]
    report: dict[str, Any] = {
        "latency_ms": whole,
        "accuracy_pct": accuracy_pct(subject.model, *test),
        "fronts": {},
    }
    for cost, one in tried.items():
        latency, fidelity = columns(one, latencies)
        front = np.flatnonzero(on_front(latency, fidelity) & (latency < whole))
        wanted = np.linspace(latency[front].min(), latency[front].max(), 10)
        kept = {int(front[np.abs(latency[front] - at).argmin()]) for at in wanted}
        report["fronts"][cost] = [
            {
                "latency_ms": latency[i],
                "fidelity": fidelity[i],
                "macs": subject.space.macs(one.archs[i]),
                "accuracy_pct": accuracy_pct(subject.build(one.archs[i]), *test),
            }
            for i in sorted(kept, key=lambda i: float(latency[i]))
        ]
    report["at_equal_fidelity"] = saved(tried, latencies)
    # Of versions that were searched for multiply-accumulates, this space may not have the options.
    offered = {arch: latencies[arch] for arch in (dense, *survey, *tried["latency"].archs)}
    offered = {**surveyed, **offered}
    return report | predicted(subject.space, tried["latency"], offered, predictor)


def columns(
    tried: Tried, latencies: Mapping[LowRankNetwork, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latency and fidelity; those that failed are the worst."""
    latency = np.array([latencies[arch] for arch in tried.archs])
    fidelity = np.array(tried.fidelities)
    failed = np.isnan(latency) | np.isnan(fidelity)
    return np.where(failed, np.inf, latency), np.where(failed, -np.inf, fidelity)


def saved(
    tried: dict[str, Tried], latencies: Mapping[LowRankNetwork, float]
) -> dict[str, list[float]]:
    """Return by how much lower the latency is, in percent, at fidelities both fronts reach."""
    fronts = {}
    for cost, one in tried.items():
        latency, fidelity = columns(one, latencies)
        front = on_front(latency, fidelity)
        order = np.argsort(fidelity[front])
        fronts[cost] = fidelity[front][order], latency[front][order]
    low = max(-0.5, *(found[0][0] for found in fronts.values()))
    high = min(found[0][-1] for found in fronts.values())
    # Evenly in the logarithm of what is lost, in which fronts are straight.
    at = -np.geomspace(-low, max(-high, 1e-3), 9)
    by = {cost: np.interp(at, *found) for cost, found in fronts.items()}
    return {
        "fidelity": at.tolist(),
        **{f"{cost}_ms": found.tolist() for cost, found in by.items()},
        "saved_pct": (100 * (1 - by["latency"] / by["macs"])).tolist(),
    }


def predicted(
    space: LowRankSpace,
    tried: Tried,
    latencies: Mapping[LowRankNetwork, float],
    name: str,
) -> dict[str, Any]:
    """Predict the front's latencies from all other versions, and from none of it."""
    latency, fidelity = columns(tried, latencies)
    front = {tried.archs[i] for i in np.flatnonzero(on_front(latency, fidelity))}
    known = [arch for arch, one in latencies.items() if arch not in front and np.isfinite(one)]
    graphs, truth = [space.graph(arch) for arch in known], np.array([latencies[a] for a in known])
    wanted, measured = [space.graph(arch) for arch in front], [latencies[arch] for arch in front]
    errors = []
    for seed in range(_SEEDS):
        said = PREDICTORS[name].regressor(seed).fit(graphs, truth).predict(wanted).mean
        errors.append(np.abs(said / np.array(measured) - 1))
    return {
        "learnt_from": len(known),
        "front": len(front),
        "predicted_within_5pct": [float(100 * (one <= 0.05).mean()) for one in errors],
        "predicted_median_error_pct": [float(100 * np.median(one)) for one in errors],
    }


def draw(report: dict[str, Any], device: str, path: Path) -> None:
    """Draw both fronts."""
    figure, axes = new_canvas(6.4, 4.4)
    for cost, words in (("macs", "searched for MACs"), ("latency", "searched for latency")):
        front = report["fronts"][cost]
        axes.plot(
            [one["latency_ms"] for one in front],
            [one["accuracy_pct"] for one in front],
            marker="o",
            label=words,
        )
    axes.scatter([report["latency_ms"]], [report["accuracy_pct"]], marker="*", label="as it is")
    axes.set_xlabel(f"latency on {device}, ms")
    axes.set_ylabel("test accuracy, %")
    axes.legend(fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
