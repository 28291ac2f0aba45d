"""Does it pay to search for latency instead of multiply-accumulates? Both fronts, in one picture.

    python benchmarks/latency_driven.py resnet20-cifar WEIGHTS --calibration C.npz --test T.npz
        --device fpga:zc706 --out FOLDER

Two searches of the same budget and strategy, one with ``--cost macs``, one with ``--cost latency``;
the latency of every version of both is found on the device. For each share of the original's
latency, the best version by fidelity of each search is tested. And how well the latency of the
second front is predicted by what was learnt from all other versions.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from compressing import quiet
from numpy.typing import NDArray

from brpnas.compressing.costs import LatencySource, open_device
from brpnas.compressing.searching import SearchSettings, search_versions
from brpnas.compressing.subject import Subject, prepare, read_subject
from brpnas.evaluate.compressed import accuracy_pct
from brpnas.predictors import PREDICTORS
from brpnas.report.canvas import new_canvas, save_figure
from brpnas.run import Run, Step
from brpnas.search import on_front

LATENCY = "latency_ms"


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
    traces: dict[str, list[Step]] = {}
    with contextlib.ExitStack() as stack:
        device = open_device(options.device, options.out, stack, print, rounds=options.rounds)
        for cost in ("macs", "latency"):
            subject = prepare(loaded, images, cost=cost, seed=options.seed, bars=quiet)
            run = stack.enter_context(Run(options.out / cost, {}, options.seed, resume=True))
            settings = SearchSettings(
                options.strategy, options.predictor, cost, options.budget, seed=options.seed
            )
            searched = search_versions(subject, settings, device, run, quiet)
            traces[cost] = run.steps
            whole = searched.original
        report = compare(subject, device, traces, whole[LATENCY], options.predictor)
    (options.out / "latency_driven.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    draw(report, options.device, options.out / "latency_driven.png")


def compare(
    subject: Subject,
    device: LatencySource,
    traces: dict[str, list[Step]],
    whole: float,
    predictor: str,
) -> dict[str, Any]:
    """Test the best versions at each latency, and judge the predictions of the second front."""
    assert subject.images.test is not None
    test = subject.images.test
    report: dict[str, Any] = {
        "latency_ms": whole,
        "accuracy_pct": accuracy_pct(subject.model, *test),
        "fronts": {},
    }
    for cost, steps in traces.items():
        latency, fidelity = columns(steps)
        front = np.flatnonzero(on_front(latency, fidelity) & (latency < whole))
        kept = front[np.argsort(latency[front])]
        wanted = np.linspace(latency[kept[0]], latency[kept[-1]], 10)
        kept = np.unique([kept[np.abs(latency[kept] - one).argmin()] for one in wanted])
        report["fronts"][cost] = [
            {
                "latency_ms": latency[i],
                "fidelity": fidelity[i],
                "macs": steps[i].metrics["macs"],
                "accuracy_pct": accuracy_pct(
                    subject.build(subject.space.parse(steps[i].arch)), *test
                ),
            }
            for i in kept
        ]
    report["saved_at_equal_fidelity_pct"] = saved(traces)
    report |= predicted(subject, device, traces["latency"], predictor)
    return report


def columns(steps: list[Step]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latency and fidelity; those that failed are the worst."""
    latency = np.array([step.metrics[LATENCY] for step in steps])
    fidelity = np.array([step.metrics["fidelity"] for step in steps])
    failed = np.isnan(latency) | np.isnan(fidelity)
    return np.where(failed, np.inf, latency), np.where(failed, -np.inf, fidelity)


def saved(traces: dict[str, list[Step]]) -> list[float]:
    """Return by how much lower the latency is, in percent, at fidelities both fronts reach."""
    fronts = {}
    for cost, steps in traces.items():
        latency, fidelity = columns(steps)
        front = on_front(latency, fidelity)
        order = np.argsort(fidelity[front])
        fronts[cost] = fidelity[front][order], latency[front][order]
    low = max(-0.5, *(found[0][0] for found in fronts.values()))
    high = min(found[0][-1] for found in fronts.values())
    # Evenly in the logarithm of what is lost, in which fronts are straight.
    at = -np.geomspace(-low, max(-high, 1e-3), 9)
    by = {cost: np.interp(at, *found) for cost, found in fronts.items()}
    return [float(100 * (1 - b / a)) for a, b in zip(by["macs"], by["latency"], strict=True)]


def predicted(
    subject: Subject, device: LatencySource, steps: list[Step], name: str
) -> dict[str, float]:
    """Predict the front's latencies from all other versions, and from none of it."""
    latency, fidelity = columns(steps)
    front = on_front(latency, fidelity)
    space = subject.space
    graphs = [space.graph(space.parse(step.arch)) for step in steps]
    survey = space.draw(40, np.random.default_rng(0))
    known = [one.metrics[LATENCY] for one in device.evaluator(subject).evaluate(survey)]
    train = [space.graph(arch) for arch in survey] + [
        graph for graph, there in zip(graphs, front, strict=True) if not there
    ]
    values = np.concatenate([known, latency[~front]])
    usable = np.isfinite(values)
    fitted = (
        PREDICTORS[name]
        .regressor(0)
        .fit([graph for graph, there in zip(train, usable, strict=True) if there], values[usable])
    )
    said = fitted.predict([graph for graph, there in zip(graphs, front, strict=True) if there]).mean
    errors = np.abs(said / latency[front] - 1)
    return {
        "front": int(front.sum()),
        "predicted_within_5pct": float(100 * (errors <= 0.05).mean()),
        "predicted_median_error_pct": float(100 * np.median(errors)),
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
