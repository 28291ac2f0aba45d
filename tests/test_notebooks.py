"""Notebooks run from the first cell to the last, and still show what was saved in them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest

_NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
_NUMBER = r"\d[\d,]*\.?\d*"
# The last bits of a predictor's outputs differ between processors, and so does a search's path.
_PATH = r"found as number \d+"
_VARIES = "figures-vary"  # the tag of a cell whose figures are of the machine where it was saved
_RELATIVE, _ABSOLUTE = 0.02, 0.05  # shares change by 0.04 with an input's last bits


def run(cell: dict[str, Any], names: dict[str, Any], file: str) -> None:
    """Run a cell and print what its last line is worth, where Jupyter shows it."""
    source = "".join(cell["source"])
    *before, last = ast.parse(source).body
    shown = isinstance(last, ast.Expr) and not source.endswith(";")
    exec(compile(ast.Module(before, []), file, "exec"), names)  # noqa: S102 - our own notebook
    end = ast.Interactive([last]) if shown else ast.Module([last], [])
    exec(compile(end, file, "single" if shown else "exec"), names)  # noqa: S102


def saved(cell: dict[str, Any]) -> str:
    """Return the texts that a cell has shown; of a plot, nothing."""
    outputs = cell["outputs"]
    texts = [one["text"] for one in outputs if one.get("name") == "stdout"]
    texts += [
        [*one["data"]["text/plain"], "\n"]
        for one in outputs
        if one["output_type"] == "execute_result"
    ]
    return "".join("".join(text) for text in texts)


def words(text: str) -> list[str]:
    return re.sub(_NUMBER, "#", re.sub(_PATH, "", text)).split()


def numbers(text: str) -> list[float]:
    found = re.findall(_NUMBER, re.sub(_PATH, "", text))
    return [float(number.replace(",", "")) for number in found]


def test_there_are_some() -> None:
    assert _NOTEBOOKS


def test_numbers_are_told_from_words() -> None:
    shown = "gp  5,044 cells: [85.25 85.  ], 87 % found as number 69\n"
    assert words(shown) == ["gp", "#", "cells:", "[#", "#", "],", "#", "%"]
    assert numbers(shown) == [5044, 85.25, 85, 87]


@pytest.mark.usefixtures("home")
@pytest.mark.slow  # up to two minutes each
@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_shows_what_is_saved(
    path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    content = path.read_text()
    if "BRPNAS_DATA" in content:
        request.getfixturevalue("shared")
    mpl.use("Agg")  # no window
    names: dict[str, Any] = {}
    for cell in json.loads(content)["cells"]:
        if cell["cell_type"] == "code":
            where = f"{path.name}:{cell['id']}"
            with pd.option_context("display.max_columns", 20):  # Jupyter has no terminal to fit
                run(cell, names, where)
            shown, kept = capsys.readouterr().out, saved(cell)
            assert words(shown) == words(kept), where
            if _VARIES not in cell["metadata"].get("tags", []):
                assert numbers(shown) == pytest.approx(numbers(kept), _RELATIVE, _ABSOLUTE), where
