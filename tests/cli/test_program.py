from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from brpnas import __version__
from brpnas.cli import app
from brpnas.cli._output import print_json, printable

COMMANDS = [
    *("search", "train", "predict", "evaluate", "measure", "devices", "datasets", "compare"),
    *("fpga", "models", "compress", "doctor", "report"),
]
SUBCOMMANDS = {
    "datasets": ["list", "describe", "import", "build"],
    "devices": ["list", "describe", "doctor"],
    "models": ["list", "describe", "build"],
    "fpga": ["map", "platforms", "layers"],
}
DOCS = Path(__file__).parents[2] / "docs"


def options(command: Any) -> list[str]:
    return [parameter.opts[0] for parameter in command.params if parameter.opts[0] != "--help"]


def test_these_are_all_commands() -> None:
    program: Any = get_command(app)
    assert sorted(program.commands) == sorted(COMMANDS)
    for command, names in SUBCOMMANDS.items():
        assert sorted(program.commands[command].commands) == sorted(names)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_a_page(brpnas: Any, command: str) -> None:
    program: Any = get_command(app)
    page = (DOCS / f"{command}.md").read_text()
    assert f"({command}.md)" in (DOCS / "index.md").read_text()
    assert f"brpnas {command}" in page
    parts = program.commands[command]
    for name, part in getattr(parts, "commands", {"": parts}).items():
        help_text = brpnas(command, *filter(None, [name]), "--help").stdout
        assert part.help
        assert f"{command} {name}".strip() in page
        for option in options(part):
            parameter = next(p for p in part.params if p.opts[0] == option)
            assert parameter.help, option
            if option.startswith("--"):
                assert option in help_text
                assert option in page, f"{option} is not in {command}.md"


def test_version(brpnas: Any) -> None:
    assert brpnas("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["search", "--budget", "0"], ["search", "--nonsense"], ["train"], ["predict"]],
)
def test_usage_errors(brpnas: Any, arguments: list[str]) -> None:
    result = brpnas(*arguments, code=2)
    assert result.stdout == ""
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; from brpnas.cli import main; sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "except SystemExit: print({'torch', 'pandas', 'matplotlib', 'numpy'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.endswith("set()\n")


def test_it_runs_as_a_module() -> None:
    asked = [sys.executable, "-m", "brpnas", "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    assert "Usage: python -m brpnas " in done.stdout


def test_interrupt_exits_130_with_one_line(brpnas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("brpnas.datasets.open_table", interrupt)
    result = brpnas("datasets", "describe", "x", code=130)
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)


def test_missing_numbers_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": {"c": [float("inf"), 1.5]}})
    assert capsys.readouterr().out == '{"a": null, "b": {"c": [null, 1.5]}}\n'


def test_hostile_names_are_printed_as_one_harmless_line() -> None:
    assert printable("a\nb\x1b[31m[red]") == "a b?[31m[red]"
