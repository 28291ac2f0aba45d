from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brpnas.datasets.formats.hwnasbench import read
from brpnas.errors import UserError


def content(runs: Any, **changed: Any) -> dict[str, Any]:
    configs = [{"name": "infer.tiny", "C": 16, "N": 5, "arch_str": cell} for cell in runs.CELLS]
    cifar10 = {
        "config": configs,
        "edgegpu_latency": [5.8, 6.0, None],
        "edgegpu_energy": [24.2, 25.0, 26.0],
        "fpga_latency": np.array([2.5, 2.6, np.nan]),
        "eyeriss_arithmetic_intensity": [np.float64(1), np.float64(2), np.float64(3)],
        **changed,
    }
    return {"nasbench201": {"cifar10": cifar10, "cifar100": {"config": configs}}, "fbnet": {}}


def write(tmp_path: Path, value: object) -> Path:
    path = tmp_path / "HW-NAS-Bench-v1_0.pickle"
    path.write_bytes(pickle.dumps(value))
    return path


def test_values_and_units(tmp_path: Path, runs: Any) -> None:
    table = read(write(tmp_path, content(runs)))
    assert table.archs == runs.CELLS
    assert table.metrics == [
        "latency_ms_edgegpu",
        "energy_mj_edgegpu",
        "latency_ms_fpga",
        "eyeriss_arithmetic_intensity",
    ]
    np.testing.assert_array_equal(table.metric("latency_ms_edgegpu"), [5.8, 6.0, np.nan])
    np.testing.assert_array_equal(table.metric("energy_mj_edgegpu"), [24.2, 25.0, 26.0])
    np.testing.assert_array_equal(table.metric("latency_ms_fpga"), [2.5, 2.6, np.nan])
    assert read(write(tmp_path, content(runs)), dataset="cifar100").metrics == []


def test_other_content_is_named(tmp_path: Path, runs: Any) -> None:
    path = write(tmp_path, content(runs))
    with pytest.raises(UserError, match="no key 'cifar1000'; keys: cifar10, cifar100"):
        read(path, dataset="cifar1000")
    for value, reason in (
        ([], "expected a dict, found list"),
        ({"fbnet": {}}, "no key 'nasbench201'; keys: fbnet"),
        ({"nasbench201": {"cifar10": 3}}, "nasbench201/cifar10: expected a dict, found int"),
        (content(runs, config=3), "config: expected a list"),
        (content(runs, config=[{}]), "config/0: no key 'arch_str'"),
        (content(runs, config=[{"arch_str": 3}]), "architecture 0 is '3'"),
        (content(runs, fpga_latency=[1.0]), "fpga_latency: 1 values for 3 architectures"),
        (content(runs, fpga_latency=["a", 1, 2]), "fpga_latency: not a sequence of numbers"),
        (content(runs, fpga_latency=[[1], [2], [3]]), "fpga_latency: expected a flat sequence"),
    ):
        with pytest.raises(UserError, match=rf"HW-NAS-Bench-v1_0\.pickle: .*{reason}"):
            read(write(tmp_path, value))
