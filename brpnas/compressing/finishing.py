"""From the front of a search to networks that can be used: repaired, tested, saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from brpnas.compressing.searching import Searched, SearchSettings
from brpnas.compressing.subject import Progress, Subject
from brpnas.errors import UserError
from brpnas.evaluate.compressed import accuracy_pct
from brpnas.lowrank import apply_recipe, read_recipe, replace, save_recipe
from brpnas.lowrank.repair import repair
from brpnas.search import FrontMember
from brpnas.spaces import LowRankNetwork

__all__ = ["finish"]


def finish(
    subject: Subject,
    searched: Searched,
    settings: SearchSettings,
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
    method = subject.factors.method.name
    words = method if repaired_by == "none" else f"{method}, repaired by {repaired_by}"
    with bars("versions finished") as bar:
        for done, member in enumerate(members):
            bar(done, len(members))

            def repairing(step: int, steps: int, done: int = done) -> None:
                bar(round(done + step / steps, 3), len(members))

            path = folder / "front" / f"{done:02d}.json"
            smaller = _finished_before(path, subject, member.arch, words)
            if smaller is None:
                smaller, report = replace(subject.model, member.arch.choices, subject.factors)
                smaller = repair(
                    repaired_by,
                    subject.model,
                    smaller,
                    member.arch.choices,
                    subject.images.fitted[0],
                    bounds=subject.images.bounds,
                    seed=settings.seed,
                    folder=folder / "repair",
                    progress=repairing,
                )
                save_recipe(path, subject.model, smaller, report, words, source)
            # Repair changed the weights, and may have added a bias.
            params = sum(one.numel() for one in smaller.parameters())
            known = member.metrics | searched.judge.judge(smaller) | {"params": params}
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


def _finished_before(
    path: Path, subject: Subject, arch: LowRankNetwork, words: str
) -> nn.Module | None:
    """Return a version that a killed run finished and wrote; None if it has to be made."""
    if not path.exists():
        return None
    try:
        recipe = read_recipe(path)
        if (recipe.choices, recipe.method) != (arch.choices, words):
            return None
        return apply_recipe(recipe, subject.model, subject.layers)[0]
    except UserError:  # damaged, or of a run with other weights
        return None


def _chosen(
    members: Sequence[FrontMember[LowRankNetwork]], settings: SearchSettings, keep: int
) -> list[FrontMember[LowRankNetwork]]:
    if settings.target is not None:
        return list(members[:1])  # the dearest is the best
    if len(members) <= keep:
        return list(members)
    costs = np.array([member.metrics[settings.metric] for member in members])
    wanted = np.linspace(costs[0], costs[-1], keep) if keep > 1 else [costs[[0, -1]].mean()]
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
