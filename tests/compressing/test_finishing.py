from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from brpnas.compressing.finishing import finish
from brpnas.compressing.searching import Searched, SearchSettings, search_versions
from brpnas.compressing.subject import Progress, Subject
from brpnas.evaluate.compressed import accuracy_pct
from brpnas.lowrank import Factors, apply_recipe, read_recipe
from brpnas.run import Run
from brpnas.search import FrontMember, FrontResult
from brpnas.spaces import LowRankNetwork

SETTINGS = SearchSettings(strategy="knapsack", budget=8)


@pytest.fixture(scope="module")
def searched(
    subject: Subject, tmp_path_factory: pytest.TempPathFactory, bars: Progress
) -> Searched:
    with Run(tmp_path_factory.mktemp("run"), {}, seed=0) as run:
        return search_versions(subject, SETTINGS, None, run, bars)


def _finish(
    subject: Subject, searched: Searched, folder: Path, bars: Progress, **more: Any
) -> Mapping[str, Any]:
    asked = {"settings": SETTINGS, "repaired_by": "none", "keep": 3, **more}
    return finish(subject, searched, folder=folder, source="a test", bars=bars, **asked)


def test_recipes_rebuild_what_was_tested(
    subject: Subject, searched: Searched, tmp_path: Path, bars: Progress
) -> None:
    found = _finish(subject, searched, tmp_path, bars)
    assert subject.images.test is not None
    baseline = accuracy_pct(subject.model, *subject.images.test)
    assert found["baseline"]["accuracy_pct"] == baseline
    assert found["baseline"]["macs"] == searched.original["macs"]
    assert len(found["front"]) == 3
    members = {member.step: member for member in searched.front.members}
    for row in found["front"]:
        member = members[row["step"]]
        assert row["macs"] == member.metrics["macs"]
        for cost in ("macs", "params"):
            left = member.metrics[cost] / searched.original[cost]
            assert row[f"{cost}_reduction_pct"] == pytest.approx(100 * (1 - left))
        recipe = read_recipe(Path(row["recipe"]))
        rebuilt = apply_recipe(recipe, subject.model, subject.layers)[0]
        assert accuracy_pct(rebuilt, *subject.images.test) == row["accuracy_pct"]
        assert (recipe.method, recipe.source) == ("output", "a test")
    names = {path.name for path in (tmp_path / "front").iterdir()}
    assert names == {f"{i:02d}.{kind}" for i in range(3) for kind in ("json", "safetensors")}


def test_kept_versions_are_spread_over_the_costs(
    subject: Subject, searched: Searched, tmp_path: Path, bars: Progress
) -> None:
    members = searched.front.members
    assert len(members) > 4
    found = _finish(subject, searched, tmp_path, bars, keep=3)
    steps = [row["step"] for row in found["front"]]
    assert [steps[0], steps[-1]] == [members[0].step, members[-1].step]
    middle = found["front"][1]["macs"]
    assert members[0].metrics["macs"] > middle > members[-1].metrics["macs"]
    (alone,) = _finish(subject, searched, tmp_path / "alone", bars, keep=1)["front"]
    assert alone["macs"] == middle


def test_target_has_one_answer_the_best(
    subject: Subject, searched: Searched, tmp_path: Path, bars: Progress
) -> None:
    settings = SearchSettings(strategy="knapsack", target=0.9)
    found = _finish(subject, searched, tmp_path, bars, settings=settings)
    assert [row["step"] for row in found["front"]] == [searched.front.members[0].step]


def test_repaired_versions_are_judged_anew(
    subject: Subject, searched: Searched, tmp_path: Path, bars: Progress
) -> None:
    last = searched.front.members[-1]
    alone = Searched(FrontResult((last,), 1, 0), searched.original, searched.judge)
    (before,) = _finish(subject, alone, tmp_path / "as found", bars)["front"]
    (after,) = _finish(subject, alone, tmp_path / "repaired", bars, repaired_by="lsq")["front"]
    assert after["macs"] == before["macs"]
    assert after["fidelity"] != before["fidelity"]
    recipe = read_recipe(Path(after["recipe"]))
    assert recipe.method == "output, repaired by lsq"
    repaired = apply_recipe(recipe, subject.model, subject.layers)[0]
    x, y = subject.images.judged
    with torch.no_grad():
        top, expected = repaired(x).argmax(1), subject.model(x).argmax(1)
    assert y is not None
    assert after["agreement_pct"] == pytest.approx(100 * float((top == expected).double().mean()))


def test_parameters_are_those_of_what_was_repaired(
    subject: Subject, searched: Searched, tmp_path: Path, bars: Progress
) -> None:
    plain = dataclasses.replace(subject, factors=Factors(subject.model, subject.layers, "plain"))
    choices = {"features.6": subject.space.options["features.6"][1].choice}
    member = FrontMember(subject.space.network(choices), searched.original, 0)
    alone = Searched(FrontResult((member,), 1, 0), searched.original, searched.judge)
    counts = []
    for repaired_by in ("none", "lsq"):  # least squares adds a bias
        (row,) = _finish(plain, alone, tmp_path / repaired_by, bars, repaired_by=repaired_by)[
            "front"
        ]
        built = apply_recipe(read_recipe(Path(row["recipe"])), subject.model, subject.layers)[0]
        counts.append(sum(one.numel() for one in built.parameters()))
        assert row["params"] == counts[-1]
    assert counts[0] < counts[1]


def test_network_as_it_is_can_be_finished(
    subject: Subject, searched: Searched, tmp_path: Path, bars: Progress
) -> None:
    dense = FrontMember(LowRankNetwork(), searched.original, 0)
    alone = Searched(FrontResult((dense,), 1, 0), searched.original, searched.judge)
    found = _finish(subject, alone, tmp_path, bars)
    (row,) = found["front"]
    assert row["macs_reduction_pct"] == 0
    assert row["accuracy_pct"] == found["baseline"]["accuracy_pct"]
