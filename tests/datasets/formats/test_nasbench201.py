from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brpnas.datasets.formats.nasbench201 import read
from brpnas.errors import UserError


def write(tmp_path: Path, content: object, legacy: bool = False) -> Path:
    path = tmp_path / "NAS-Bench-201-v1_1.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def file(runs: Any, **changed: Any) -> dict[str, Any]:
    full = runs.results(
        0,
        runs.run("cifar10", 777, 200, {"ori-test": 90.0}),
        runs.run("cifar10", 888, 200, {"ori-test": 92.0}, latency=None),
        runs.run(
            "cifar100", 777, 200, {"x-valid": 70.0, "x-test": 71.0, "ori-test": 1.0}, params=0.6
        ),
        runs.run("ImageNet16-120", 777, 200, {"x-valid": 40.0, "x-test": 41.0}, latency=[-1]),
        runs.run("somewhere", 777, 200, {"x-valid": 1.0}),
    )
    infos = {
        0: {"less": runs.short(0), "full": full},
        2: {"less": runs.short(2), "full": runs.short(2, 200)},
    }
    return {
        "meta_archs": runs.CELLS,
        "arch2infos": OrderedDict(infos),
        "evaluated_indexes": {0, 2},
        **changed,
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_values_units_and_missing(tmp_path: Path, runs: Any, legacy: bool) -> None:
    table = read(write(tmp_path, file(runs), legacy))
    assert table.archs == [runs.CELLS[0], runs.CELLS[2]]
    expected = {
        "cifar10_valid_acc_12ep_pct": [50.0, 52.0],
        "cifar10_valid_acc_200ep_pct": [np.nan, 52.0],
        "cifar10_test_acc_200ep_pct": [91.0, np.nan],  # mean over seeds
        "cifar100_valid_acc_200ep_pct": [70.0, np.nan],
        "cifar100_test_acc_200ep_pct": [71.0, np.nan],
        "imagenet16_120_valid_acc_200ep_pct": [40.0, np.nan],
        "imagenet16_120_test_acc_200ep_pct": [41.0, np.nan],
        "params_m_cifar10": [0.5, 0.5],
        "params_m_cifar100": [0.6, np.nan],
        "params_m_imagenet16_120": [0.5, np.nan],
        "flops_m_cifar10": [40.0, 40.0],
        "flops_m_cifar100": [40.0, np.nan],
        "flops_m_imagenet16_120": [40.0, np.nan],
        "latency_ms_cifar10": [20.0, 20.0],  # the run without latency does not count
        "latency_ms_cifar100": [20.0, np.nan],
    }
    assert set(table.metrics) == set(expected)  # no latency of ImageNet: -1 is not available
    for column, values in expected.items():
        np.testing.assert_allclose(table.metric(column), values, err_msg=column)
    assert set(table.card.columns) == set(expected)


def test_numpy_numbers_and_tensors(tmp_path: Path, runs: Any) -> None:
    content = file(runs)
    odd = runs.run(
        "cifar10", 1, 12, {"ori-test": torch.tensor(80.0)}, flop=np.float64(3), params=np.float32(2)
    )
    content["arch2infos"][0]["less"] = runs.results(0, odd)
    table = read(write(tmp_path, content))
    assert table.metric("cifar10_test_acc_12ep_pct")[0] == 80
    assert table.metric("params_m_cifar10")[0] == pytest.approx((2 + 0.5 + 0.5) / 3)


class Call:
    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("legacy", [False, True])
def test_hostile_file(
    tmp_path: Path, runs: Any, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, file(runs, evaluated_indexes=Call()), legacy)
    with pytest.raises(UserError, match=r"v1_1\.pth: refused '[a-z]*\.mkdir'") as caught:
        read(path)
    assert "weights_only" not in str(caught.value)  # no advice on how to run it all the same
    assert not (tmp_path / "pwned").exists()


def test_truncated_file(tmp_path: Path, runs: Any) -> None:
    path = write(tmp_path, file(runs))
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"v1_1\.pth: "):
            read(path)


def test_other_content_is_named(tmp_path: Path, runs: Any) -> None:
    broken = runs.run("cifar10", 1, 12, {"ori-test": 1.0})
    del broken["flop"]
    deep: list[Any] = []
    for _ in range(20):
        deep = [deep, deep]  # as text, twice as long each time
    less = runs.short(0)
    for content, reason in (
        ([1], "expected a dict, found list"),
        ({"arch2infos": {}}, "no key 'meta_archs'; keys: arch2infos"),
        (file(runs, meta_archs=["64:64:64"]), "architecture 0 is '64:64:64', not a NAS-Bench-201"),
        (file(runs, meta_archs=[deep]), "architecture 0 is 'list', not a NAS-Bench-201"),
        (file(runs, meta_archs=[7]), "architecture 0 is '7', not a NAS-Bench-201"),
        (file(runs, arch2infos={0: {}, "1": {}}), "arch2infos: key '1' is not a whole number"),
        (file(runs, arch2infos={7: {}}), "architecture 7: there are 3 architectures"),
        (file(runs, arch2infos={0: {"less": less}}), "architecture 0: no key 'full'; keys: less"),
        (file(runs, arch2infos={0: {"less": less, "full": {}}}), "architecture 0: .*all_results"),
        (
            file(runs, arch2infos={0: {"less": less, "full": runs.results(0, broken)}}),
            "architecture 0: not a result of the benchmark .*flop",
        ),
        (file(runs, arch2infos={}), "no results of any architecture"),
    ):
        with pytest.raises(UserError, match=f"NAS-Bench-201-v1_1.pth: .*{reason}"):
            read(write(tmp_path, content))
