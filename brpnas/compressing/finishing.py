"""From the front of a search to networks that can be used: repaired, tested, saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from brpnas.compressing.searching import Searched, Settings
from brpnas.compressing.subject import Progress, Subject
from brpnas.evaluate.compressed import accuracy_pct
from brpnas.lowrank import replace, save_recipe
from brpnas.lowrank.repair import repair
from brpnas.search import FrontMember
from brpnas.spaces import LowRankNetwork

__all__ = ["finish"]


def finish(
    subject: Subject,
    searched: Searched,
    settings: Settings,
    repaired_by: str,
    keep: int,
    folder: Path,
    source: str,
    bars: Progress,
) -> dict[str, Any]:
    """Repair the versions of a front, test them once, and write their recipes.

    Args:
        subject: the network.
        searched: what was found.
        settings: of the search.
        repaired_by: a key of `REPAIRS`.
        keep: versions to keep, spread over the costs; with a target, the best one alone.
        folder: of the run; recipes go into ``front/``.
        source: where the network is from, for the recipes.
        bars: shows progress.

    Returns:
        ``baseline`` and ``front``: metrics of the network as it is and of the versions, each with
        the path of its recipe; accuracy is that of the test images if there are any, else of the
        calibration images if their labels may be used, else missing.
    """
    members = _chosen(searched.front.members, settings, keep)
    whole = searched.original
    baseline = _metrics(whole) | {"accuracy_pct": _accuracy(subject, subject.model, whole)}
    front = []
    with bars("versions finished") as bar:
        for done, member in enumerate(members):
            bar(done, len(members))
            smaller, report = replace(subject.model, member.arch.choices, subject.factors)
            smaller = repair(
                repaired_by,
                subject.model,
                smaller,
                member.arch.choices,
                subject.images.calibration,
                bounds=subject.images.bounds,
                seed=settings.seed,
                folder=folder / "repair" / str(member.step),
            )
            path = folder / "front" / f"{done:02d}.json"
            method = subject.factors.method.name
            words = method if repaired_by == "none" else f"{method}, repaired by {repaired_by}"
            save_recipe(path, subject.model, smaller, report, words, source)
            # Of a repaired network the search's own figures are not known to hold.
            known = member.metrics | ({} if repaired_by == "none" else _judged(subject, smaller))
            front.append(
                {
                    "macs_reduction_pct": _reduction(known, whole, "macs"),
                    "params_reduction_pct": _reduction(known, whole, "params"),
                    "accuracy_pct": _accuracy(subject, smaller, known),
                    **_metrics(known),
                    "step": member.step,
                    "recipe": str(path),
                }
            )
        bar(len(members), len(members))
    return {"baseline": baseline, "front": front}


def _chosen(
    members: Sequence[FrontMember[LowRankNetwork]], settings: Settings, keep: int
) -> list[FrontMember[LowRankNetwork]]:
    if settings.target is not None:
        return list(members[:1])  # the dearest is the best
    if len(members) <= keep:
        return list(members)
    costs = np.array([member.metrics[settings.metric] for member in members])
    wanted = np.linspace(costs[0], costs[-1], keep)
    places = {int(np.abs(costs - one).argmin()) for one in wanted}
    return [members[place] for place in sorted(places)]


def _metrics(metrics: dict[str, float]) -> dict[str, float]:
    names = ("agreement_pct", "fidelity", "macs", "params", "latency_ms")
    return {name: metrics[name] for name in names if name in metrics}


def _reduction(metrics: dict[str, float], whole: dict[str, float], name: str) -> float:
    return 100 * (1 - metrics[name] / whole[name])


def _accuracy(subject: Subject, model: nn.Module, metrics: dict[str, float]) -> float | None:
    if subject.images.test is not None:
        return accuracy_pct(model, *subject.images.test)
    return metrics.get("accuracy_pct")


@torch.no_grad()
def _judged(subject: Subject, model: nn.Module) -> dict[str, float]:
    """Return what the search knows of a version, of one whose weights were changed since."""
    agreed, lost, labelled = 0.0, 0.0, 0.0
    images, labels = subject.images.calibration, subject.images.labels
    for start in range(0, len(images), 256):
        x = images[start : start + 256]
        expected = subject.model(x).double().log_softmax(1)
        found = model(x).double().log_softmax(1)
        top = found.argmax(1)
        agreed += float((top == expected.argmax(1)).sum())
        lost += float((expected.exp() * (expected - found)).sum())
        if labels is not None:
            labelled += float((top == labels[start : start + 256]).sum())
    count = len(images)
    judged = {"agreement_pct": 100 * agreed / count, "fidelity": -lost / count}
    return judged if labels is None else {**judged, "accuracy_pct": 100 * labelled / count}
