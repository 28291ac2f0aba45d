from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from emulated_phone import EmulatedPhone
from typer.testing import CliRunner

from brpnas.cli import app
from brpnas.datasets import Card, Table, write_table
from brpnas.devices import local
from brpnas.evaluate.evaluator import Evaluation
from brpnas.testing import SyntheticEvaluator, synthetic_problem


class Program:
    """Runs ``brpnas`` here: the tests of processes use the real one."""

    def __call__(self, *arguments: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: object) -> dict[str, Any]:
        """Return the one JSON object on stdout."""
        content: dict[str, Any] = json.loads(
            self(*arguments, "--json").stdout, parse_constant=pytest.fail
        )
        return content

    def error(self, *arguments: object) -> str:
        """Return the one line on stderr of a user's error; stdout is empty."""
        result = self(*arguments, code=2)
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("error: ")
        return str(result.stderr)


@pytest.fixture
def brpnas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Program()


@pytest.fixture(autouse=True)
def _any_machine_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring waits for no other programs to end: how good the figures are is not tested here."""
    monkeypatch.setattr(local, "_ENOUGH", dict.fromkeys(local._ENOUGH, 0.0))
    monkeypatch.setattr(local, "_SLOWDOWN", math.inf)


@pytest.fixture
def phone(emulated: EmulatedPhone, tmp_path: Path) -> EmulatedPhone:
    """An emulated phone, and its profile in mine.toml."""
    emulated.toml(tmp_path / "mine.toml")
    return emulated


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    """120 distinct cells with a made-up accuracy, latency and test accuracy."""
    archs = synthetic_problem(120).pool
    found: list[Evaluation] = list(SyntheticEvaluator().evaluate(archs))
    columns = pd.DataFrame([evaluation.metrics for evaluation in found])
    columns.insert(0, "arch", list(map(str, archs)))
    noise = np.random.default_rng(0).normal(0, 0.5, len(columns))
    return columns.assign(test_acc_pct=columns["accuracy_pct"] - 1 + noise, nothing=np.nan)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a table into the test's folder."""

    def write(frame: pd.DataFrame, name: str = "t.parquet", space: str = "nasbench201") -> Path:
        write_table(Table(frame, Card(title="made up", space=space)), tmp_path / name)
        return tmp_path / name

    return write
