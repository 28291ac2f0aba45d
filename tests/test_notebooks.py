"""Notebooks run from the first cell to the last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

_NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
_QUICK = "first_search"  # the others take half a minute each


def test_there_are_some() -> None:
    assert _NOTEBOOKS


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem == _QUICK else pytest.mark.slow)
        for path in _NOTEBOOKS
    ],
)
def test_runs(path: Path) -> None:
    mpl.use("Agg")  # no window
    names: dict[str, Any] = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            code = compile("".join(cell["source"]), f"{path.name}:{cell['id']}", "exec")
            exec(code, names)  # noqa: S102 - our own notebook
