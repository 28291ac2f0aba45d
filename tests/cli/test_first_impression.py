"""How soon the program answers, and what it says to those who mistype."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_RUN = "from brpnas.cli import main; main()"


def cpu_s(*arguments: str) -> float:
    """CPU seconds of Python, the least of three runs; a busy machine disturbs them little."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(3))


def test_the_package_is_imported_within_half_a_second() -> None:
    assert cpu_s("-c", "import brpnas") < 0.5


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["search", "--help"]])
def test_help_takes_less_than_a_second(arguments: list[str]) -> None:
    assert cpu_s("-c", _RUN, *arguments) < 1.0


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["serach"], "'search'"),
        (["datasets", "lst"], "'list'"),
        (["search", "--budgte", "5"], "--budget"),
        (["search", "--strategy", "evolutoin"], "'evolution'"),
        (["search", "--predictor", "gnc"], "'gcn'"),
        (["datasets", "describe", "digit201"], "'digits201'"),
        (["devices", "describe", "pixl4"], "'pixel4'"),
        (["fpga", "layers", "--kind", "convolutoin", "--table", "t", "--out", "o"], "convolution"),
    ],
)
def test_mistyped_names_are_answered_with_the_nearest(
    brpnas: Any, arguments: list[str], nearest: str
) -> None:
    result = brpnas(*arguments, code=2)
    assert nearest in result.stderr
    assert "Traceback" not in result.stderr


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    """As the script asks that ``--install-completion`` puts into bash."""
    program = tmp_path / "brpnas"
    program.write_text(f"#!{sys.executable}\n{_RUN}\n")
    program.chmod(0o755)

    def completed(line: str) -> set[str]:
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        done = subprocess.run(
            [program],
            env={**os.environ, "_BRPNAS_COMPLETE": "complete_bash", **asked},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return set(done.stdout.split())

    assert completed("brpnas se") == {"search"}
    assert completed("brpnas devices d") == {"describe", "doctor"}
    assert completed("brpnas search --bud") == {"--budget"}


def test_completion_is_installed(tmp_path: Path) -> None:
    program = tmp_path / "brpnas"
    program.write_text(f"#!{sys.executable}\n{_RUN}\n")
    program.chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", "-c", f"{program} --install-completion; true"],
        env={**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "brpnas" in (tmp_path / ".bash_completions/brpnas.sh").read_text()
    assert "brpnas.sh" in (tmp_path / ".bashrc").read_text()
