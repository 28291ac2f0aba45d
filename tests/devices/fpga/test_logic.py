from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from brpnas.devices.fpga import FEATURES
from brpnas.devices.fpga.logic import RESOURCES, ModuleUse, card, count_logic

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def fitting() -> ModuleType:
    """The script that fits the coefficients."""
    path = _ROOT / "benchmarks" / "fpga_fit.py"
    spec = importlib.util.spec_from_file_location("fpga_fit", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def coefficients() -> dict[str, dict[str, dict[str, float]]]:
    content = json.loads((_ROOT / "devices" / "fpga" / "coefficients.json").read_text())
    return dict(content["modules"])


def test_every_module_has_coefficients_and_every_feature_is_used() -> None:
    assert set(coefficients()) == set(FEATURES)
    for module, resources in coefficients().items():
        assert set(resources) == set(RESOURCES)
        assert {name for terms in resources.values() for name in terms} == set(FEATURES[module])
        for terms in resources.values():
            assert terms
            assert min(terms.values()) > 0


def test_the_script_gives_the_file(fitting: ModuleType, shared: Path) -> None:
    tables = fitting.golden_kinds(shared / "fpga")
    found = fitting.fit(tables, {kind: np.ones(len(rows), bool) for kind, rows in tables.items()})
    for module, resources in coefficients().items():
        for resource, terms in resources.items():
            assert found[module][resource] == pytest.approx(terms, rel=1e-3), (module, resource)


def test_layers_held_out(fitting: ModuleType, shared: Path) -> None:
    tables = fitting.golden_kinds(shared / "fpga")
    out = {kind: fitting.held_out(kind, rows) for kind, rows in tables.items()}
    assert all(0.1 < rows.mean() < 0.35 for rows in out.values())
    fitted = fitting.fit(tables, {kind: ~rows for kind, rows in out.items()})
    found = fitting.errors(tables, out, fitted)
    for kind, resources in card()["error_pct"].items():
        for resource, (median, high) in resources.items():
            assert median < 5
            assert high < 20
            assert found[kind][resource] == pytest.approx([median, high], abs=0.05)


def test_copies_and_modules_add_up() -> None:
    sizes = {"coarse": np.ones(3)}
    copies = np.array([0.0, 1.0, 5.0])
    both = count_logic((ModuleUse("pad", sizes, np.ones(3)), ModuleUse("relu", sizes, copies)), 3)
    assert list(both["LUT"]) == [16, 32, 96]
    assert list(both["FF"]) == [35, 70, 210]
    assert list(count_logic((), 2)["LUT"]) == [0, 0]


def test_the_page_states_the_errors_of_the_card() -> None:
    page = (_ROOT / "docs" / "results.md").read_text()
    for kind, errors in card()["error_pct"].items():
        numbers = [number for resource in RESOURCES for number in errors[resource]]
        shown = " | ".join(f"{number:.2f}" for number in numbers)
        assert (f"| `{kind}` | {shown} |" in page) == any(numbers), kind
