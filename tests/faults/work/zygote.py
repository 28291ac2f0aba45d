"""Starts ``brpnas`` as processes that have imported what is slow to import already.

A process that is killed at a random moment would else mostly die while it imports torch. Run as a
script, this is the parent: it forks a child for every line on stdin, a JSON list of folder, log
and arguments, and prints its process id; for a line with a process id, it prints how it ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

_IMPORTS = (
    *("torch", "sklearn.datasets", "matplotlib.pyplot", "pandas", "scipy.stats", "jinja2"),
    *("brpnas.cli", "brpnas.run", "brpnas.sources", "brpnas.resolver", "brpnas.report.search_page"),
    *("brpnas.report.lowrank_page", "brpnas.compressing", "brpnas.measuring", "brpnas.exporting"),
    *("brpnas.evaluate.digits201", "brpnas.evaluate.images", "brpnas.devices.fpga.device"),
    *("brpnas.predictors.gcn", "brpnas.search", "pymoo.optimize"),
)


class Zygote:
    """The parent of the processes, as tests see it; a context manager."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate(timeout=60)

    def _ask(self, line: Any) -> int:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(line) + "\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

    def start(
        self, folder: Path, *arguments: object, limit_bytes: int = -1, log: str = "said.txt"
    ) -> int:
        """Start ``brpnas`` in a folder.

        Args:
            folder: where it runs.
            arguments: its own.
            limit_bytes: size that no file of it can pass; -1: none.
            log: file in the folder that gets what it says.

        Returns:
            The number of the process, for `wait`.
        """
        return self._ask([str(folder), [str(one) for one in arguments], limit_bytes, log])

    def wait(self, pid: int) -> int:
        """Return the exit status of a process; -9 if it was killed."""
        return self._ask(pid)

    def run(
        self,
        folder: Path,
        *arguments: object,
        kill_after_s: float | None = None,
        limit_bytes: int = -1,
    ) -> int:
        """Run ``brpnas`` in a folder, to its end or until it is killed.

        Returns:
            Its exit status, -9 if it was killed; what it said is in ``said.txt``.
        """
        pid = self.start(folder, *arguments, limit_bytes=limit_bytes)
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(pid, signal.SIGKILL)  # one that has ended waits for its status to be asked
        return self.wait(pid)


def _serve() -> None:
    for name in _IMPORTS:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            _, status = os.waitpid(asked, 0)
            _answer(os.waitstatus_to_exitcode(status))
            continue
        pid = os.fork()
        if pid == 0:
            _become(*asked)
        _answer(pid)


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(folder: str, arguments: list[str], limit_bytes: int, log: str) -> None:
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in ((0, nothing), (1, said), (2, said)):
        os.dup2(stream, number)
    sys.argv = ["brpnas", *arguments]
    status = 1
    try:
        from brpnas.cli import main

        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - what the interpreter would print
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
