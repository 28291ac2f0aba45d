"""Names that are no names: each option takes them as text, and says what is wrong in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from corruption import MARK
from typer.testing import CliRunner

from brpnas.cli import app
from brpnas.cli._output import printable

NAMES = {
    "substitution": f"$(touch {MARK})",
    "backquotes": f"`touch {MARK}`",
    "semicolon": f"x; touch {MARK} #.parquet",
    "python": f"__import__('os').system('touch {MARK}')",
    "target": f"os:system('touch {MARK}')",
    "traversal": "../../../../../../etc/passwd",
    "traversal in a name": "zc706/../../../../secret",
    "traversal to a file": "../secret.toml",
    "long": "a" * 10_000,
    "long with a suffix": "a" * 10_000 + ".parquet",
    "long path": "a/" * 5_000 + "x.toml",
    "unicode": "é\u202e\U0001f600\u0000"[:-1],
    "terminal": "\x1b[31mred\x1b]0;title\x07",
    "lines": "one\nerror: two\r\n",
    "not UTF-8": "caf\udce9",
    "empty": "",
    "space": " ",
    "dots": "..",
    "format": "{0.__class__}%s%n",
    "address": "http://127.0.0.1:9/x.parquet",
    "markup": "<script>alert(1)</script>[bold]x[/bold]",
}
OUT = ("--out", "out.parquet")
SPACE = ("--space", "nasbench201", "--sample", 1)
COMMANDS: dict[str, tuple[object, ...]] = {
    "search --table": ("search", "--table", "NAME", "--accuracy", "x"),
    "search --accuracy": ("search", "--table", "t.csv", "--accuracy", "NAME"),
    "search --latency": (
        *("search", "--table", "t.csv", "--accuracy", "accuracy_pct"),
        *("--latency", "NAME", "--latency-limit", 5),
    ),
    "search --model": ("search", "--space", "lowrank", "--model", "NAME", "--cost", "macs"),
    "search --device": ("search", "--space", "lowrank", "--device", "NAME"),
    "search --strategy": (
        *("search", "--table", "t.csv", "--accuracy", "accuracy_pct", "--strategy", "NAME"),
    ),
    "train --table": ("train", "--table", "NAME", "--metric", "x", "--out", "p"),
    "predict --predictor": ("predict", "--predictor", "NAME", "--table", "t.csv", *OUT),
    "compress --model": ("compress", "--recipe", "NAME", "--model", "NAME", "--out", "out"),
    "measure --device": ("measure", "--device", "NAME", *SPACE, *OUT),
    "measure --device fpga": ("measure", "--device", "fpga:NAME", *SPACE, *OUT),
    "measure --model": ("measure", "--model", "NAME", *OUT),
    "measure --model on an FPGA": ("measure", "--device", "fpga:zc706", "--model", "NAME", *OUT),
    "measure --archs": ("measure", "--space", "nasbench201", "--archs", "NAME", *OUT),
    "fpga map --platform": (
        *("fpga", "map", "--model", "x.onnx", "--platform", "NAME", "--out", "out.json"),
    ),
    "fpga map --model": (
        *("fpga", "map", "--model", "NAME", "--platform", "zc706", "--out", "out.json"),
    ),
    "datasets describe": ("datasets", "describe", "NAME"),
    "datasets import": ("datasets", "import", "latbench", "NAME", *OUT),
    "devices doctor": ("devices", "doctor", "NAME"),
    "devices describe": ("devices", "describe", "NAME"),
}


def _call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def _files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a table, and a secret beside it."""
    (tmp_path / "secret.toml").write_text("the secret")
    folder = tmp_path / "here"
    folder.mkdir()
    archs = [f"|{op}~0|+|none~0|none~1|+|none~0|none~1|none~2|" for op in ("none", "nor_conv_3x3")]
    frame = pd.DataFrame({"arch": archs, "accuracy_pct": [1.0, 2.0], "latency_ms": [1.0, 2.0]})
    frame.to_csv(folder / "t.csv", index=False)
    monkeypatch.chdir(folder)
    return folder


def _refused(result: Any, asked: str) -> None:
    assert isinstance(result.exception, SystemExit), f"{asked}: {result.exception!r}"
    assert result.exit_code == 2
    said = result.stderr
    assert "Traceback" not in said
    assert "the secret" not in said or "--archs" in asked  # a list of networks is quoted
    assert len(said) < 4000
    if said.startswith("error: "):  # else typer's own, of an option that is malformed
        assert said.count("\n") == 1
        assert said[:-1] == printable(said)


@pytest.mark.parametrize("command", COMMANDS)
def test_names_of_what_is_not_there(command: str, here: Path) -> None:
    before = _files(here.parent)
    for kind, name in NAMES.items():
        arguments = [str(one).replace("NAME", name) for one in COMMANDS[command]]
        _refused(_call(*arguments), f"{command}, {kind}")
        assert _files(here.parent) == before, f"{command}, {kind}"


@pytest.mark.parametrize("kind", [kind for kind in NAMES if "traversal" not in kind])
def test_names_of_what_is_to_be_written(kind: str, here: Path) -> None:
    """Where such a file can be, it is made: there, under that name, and nowhere else."""
    name = NAMES[kind]
    before = _files(here.parent)
    result = _call("search", "--table", "t.csv", "--accuracy", "accuracy_pct", "--budget", 2,
                   "--strategy", "random", "--out", name)  # fmt: skip
    made = _files(here.parent) - before
    if result.exit_code == 0:
        assert made
        top = (here / name).parts[len(here.parts)] if name.strip("./") else ""
        assert all(path == here / top or (here / top) in path.parents for path in made)
    else:
        _refused(result, kind)
        assert not made
    assert not (here / MARK).exists()


@pytest.mark.parametrize("kind", [kind for kind in NAMES if kind not in ("empty", "not UTF-8")])
def test_names_of_columns(kind: str, here: Path) -> None:
    name = NAMES[kind]
    frame = pd.read_csv("t.csv").rename(columns={"accuracy_pct": name})
    frame.to_parquet("t.parquet")
    before = _files(here.parent)
    result = _call("search", "--table", "t.parquet", "--accuracy", name, "--budget", 2,
                   "--strategy", "random", "--out", "run")  # fmt: skip
    if result.exit_code:
        _refused(result, kind)
    else:
        assert "<script>alert(1)" not in (here / "run" / "report.html").read_text()
    assert all((here / "run") in (path, *path.parents) for path in _files(here.parent) - before)


@pytest.mark.parametrize("kind", [kind for kind in NAMES if kind != "not UTF-8"])
def test_texts_of_networks(kind: str, here: Path) -> None:
    pd.DataFrame({"arch": [NAMES[kind]], "accuracy_pct": [1.0]}).to_parquet("t.parquet")
    before = _files(here.parent)
    _refused(_call("search", "--table", "t.parquet", "--accuracy", "accuracy_pct"), kind)
    assert _files(here.parent) == before
