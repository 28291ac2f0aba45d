from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brpnas.datasets import catalogue


def checks(brpnas: Any, code: int = 0) -> dict[str, dict[str, str]]:
    """What doctor found, by name; the exit status tells of problems."""
    result = json.loads(brpnas("doctor", "--json", code=code).stdout)
    assert (result["problems"] > 0) == (code == 1)
    return {check["name"]: check for check in result["checks"]}


def needs(folder: Path, *requirements: str) -> None:
    """Write what an installation of brpnas would say that it needs."""
    info = folder / "brpnas-9.9.9.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: brpnas", "Version: 9.9.9"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    (info / "METADATA").write_text("\n".join([*lines, ""]))


def test_this_installation_is_well(brpnas: Any) -> None:
    found = checks(brpnas)
    assert list(found) == [
        *("brpnas", "system", "packages", "torch"),
        *("extra measure", "extra convert", "extra onnx", "extra adbutils", "extra ray"),
        *("plug-ins", "tables", "network", "this machine", "phones", "this folder"),
    ]
    for name in ("brpnas", "packages", "torch", "tables", "network", "extra measure"):
        assert found[name]["state"] == "ok", found[name]
        assert found[name]["fix"] == ""
    assert "digits201 (5,044 networks)" in found["tables"]["found"]


def test_the_table_says_what_to_do_next(brpnas: Any) -> None:
    result = brpnas("doctor")
    assert "what to do" in result.stdout
    assert "brpnas devices doctor DEVICE" in result.stderr


def test_what_is_missing_and_what_it_is_for(
    brpnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(
        tmp_path,
        "torch>=999",
        "no-such-package-at-all",
        "numpy",
        "none-of-that-name; extra == 'ray'",
        "numpy<1; extra == 'onnx'",
        "brpnas[ray]; extra == 'convert'",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = checks(brpnas, code=1)
    assert found["brpnas"]["found"].startswith("9.9.9 ")
    packages = found["packages"]
    assert packages["state"] == "problem"
    assert packages["found"].startswith("torch 2.")
    assert packages["found"].endswith(", not >=999; no no-such-package-at-all")
    assert "pip install" in packages["fix"]
    assert found["extra ray"]["state"] == found["extra convert"]["state"] == "absent"
    assert "no none-of-that-name" in found["extra convert"]["found"]
    assert "a cluster as executor" in found["extra ray"]["fix"]
    assert "pip install '.[ray]'" in found["extra ray"]["fix"]
    assert found["extra onnx"]["state"] == "warning"  # somebody else may need that one
    assert found["extra adbutils"]["state"] == "ok"


def test_a_damaged_table_is_a_problem(
    brpnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "tables"
    shutil.copytree(catalogue._EMBEDDED, there)
    content = (there / "litert201.parquet").read_bytes()
    (there / "litert201.parquet").write_bytes(content[: len(content) // 2])
    monkeypatch.setattr(catalogue, "_EMBEDDED", there)
    tables = checks(brpnas, code=1)["tables"]
    assert tables["state"] == "problem"
    assert "litert201.parquet" in tables["found"]
    assert "digits201" not in tables["found"]


def test_what_other_packages_offer_is_named_and_tried(tmp_path: Path) -> None:
    info = tmp_path / "offered-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.2\n")
    entries = "another = brpnas.search.random:RandomSearch\nbroken = offered_nowhere:Strategy\n"
    (info / "entry_points.txt").write_text(f"[brpnas.strategies]\n{entries}")

    def plug_ins() -> dict[str, str]:
        # In a process of its own: what is installed is looked at once in each.
        code = "from brpnas.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "doctor", "--json"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        (found,) = (one for one in json.loads(done.stdout)["checks"] if one["name"] == "plug-ins")
        return dict(found)

    found = plug_ins()
    assert found["state"] == "warning"
    assert "'broken' of package offered 1.2 cannot be imported" in found["found"]
    (info / "entry_points.txt").write_text(f"[brpnas.strategies]\n{entries.splitlines()[0]}\n")
    found = plug_ins()
    assert (found["state"], found["found"]) == ("ok", "strategy 'another' of offered 1.2")
