"""The example of a package for brpnas: installed, used by the real command, and its own tests."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

_ROOT = Path(__file__).parents[1]
_EXAMPLE = _ROOT / "examples" / "brpnas-example"
_PAGE = (_ROOT / "docs" / "extending.md").read_text()
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program where the example is installed, in a folder that holds its sources."""
    folder = tmp_path_factory.mktemp("example")
    leave = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(_EXAMPLE, folder / "source", ignore=leave)
    site = folder / "site"
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}

    def run(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=folder / "source",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "install", *offline, "--target", site, ".")
    return run


@pytest.fixture(scope="module")
def brpnas(run: Run) -> Callable[..., dict[str, Any]]:
    """Run the real command; return the JSON that it prints."""
    program = Path(sys.executable).with_name("brpnas")

    def brpnas(*words: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(program, *words, "--json").stdout)
        return found

    return brpnas


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all stacks with a made-up accuracy, best at 4-4-3-4."""
    stacks = list(itertools.product((1, 2, 3, 4), repeat=4))
    frame = pd.DataFrame(
        {
            "arch": ["-".join(map(str, stack)) for stack in stacks],
            "accuracy_pct": [50 + a + 3 * b - abs(c - 3) + 2 * d for a, b, c, d in stacks],
        }
    )
    path = tmp_path_factory.mktemp("table") / "stacks.csv"
    frame.to_csv(path, index=False)
    return path


def test_its_own_tests_pass(run: Run) -> None:
    own = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    (passed,) = re.findall(r"(\d+) passed", own.stdout)
    assert int(passed) > 50
    assert "skipped" not in own.stdout


def test_the_commands_of_the_page(brpnas: Any) -> None:
    (commands,) = re.findall(r"```sh\n(.+?)```", _PAGE, re.DOTALL)
    install, measure, train = (shlex.split(line, comments=True) for line in commands.splitlines())
    assert install == ["pip", "install", "-e", "examples/brpnas-example"]
    measured = brpnas(*measure[1:], "--executor", "inline")
    assert (measured["measured"], measured["failed"]) == (256, 0)
    assert measured["device"]["name"] == "flash"
    assert brpnas(*train[1:])["spearman"] > 0.9
    listed = {one["name"]: one for one in brpnas("devices", "list")["devices"]}
    assert listed["flash"]["kind"] == "flash"
    assert listed["flash"]["title"] == "Offered by the package brpnas-example 0.1.0"
    (check,) = brpnas("devices", "doctor", "flash")["checks"]
    assert (check["state"], check["found"]) == ("ok", "name: flash; bytes_per_ms: 20000")
    asked = ("--predictor", "stacks-on-flash", "--table", "flash.parquet", "--out", "new.parquet")
    assert brpnas("predict", *asked)["rows"] == 256


def test_search_with_everything_of_the_example(brpnas: Any, table: Path, tmp_path: Path) -> None:
    asked = ("search", "--space", "stacks", "--table", table, "--accuracy", "accuracy_pct")
    limit = ("--device", "flash", "--latency", "latency_ms", "--latency-limit", 0.9)
    climbed = brpnas(*asked, "--strategy", "climb", "--budget", 30, *limit, "--out", tmp_path / "a")
    assert climbed["best"]["latency_ms"] <= 0.9
    assert climbed["evaluations"] == 30
    assert "1-" in (tmp_path / "a" / "report.html").read_text()
    learnt = brpnas(*asked, "--predictor", "ridge", "--budget", 30, "--out", tmp_path / "b")
    assert learnt["best"] == {"arch": "4-4-3-4", "accuracy_pct": 74.0}


def test_compress_with_the_example(brpnas: Any, tmp_path: Path) -> None:
    found = brpnas(
        *("search", "--space", "lowrank", "--cost", "macs", "--strategy", "sprinkle"),
        *("--budget", 4, "--keep", 1, "--out", tmp_path / "run"),
    )
    assert found["evaluations"] == 4
    assert len(found["front"]) >= 1


def test_its_names_are_among_the_choices(run: Run) -> None:
    program = Path(sys.executable).with_name("brpnas")
    said = "Did you mean 'climb'? Choices: brp, random, evolution, local, reinforce, climb\n"
    assert run(program, "search", "--strategy", "clim", code=2).stderr.endswith(said)


def test_the_page_shows_what_the_files_hold() -> None:
    blocks = re.findall(r'```\w+ title="(.+?)"\n(.+?)\n```', _PAGE, re.DOTALL)
    shown = {path for path, _ in blocks}
    for path, block in blocks:
        assert block in (_ROOT / path).read_text(), path
    for file in (*_EXAMPLE.glob("src/*/[a-z]*.py"), *_EXAMPLE.glob("tests/*.py")):
        assert str(file.relative_to(_ROOT)) in shown
