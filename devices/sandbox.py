"""Where models that this program did not write run first: in a process of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import weakref
from multiprocessing.connection import Connection
from typing import IO

from brpnas.devices import trial

__all__ = ["Sandbox"]


class Sandbox:
    """A process that runs models once: one that crashes or hangs ends that process only.

    It starts with the first model and serves many, for its start takes longer than most models do.
    After one that ended it, the next model starts a new one.

    Args:
        module: of the TFLite runtime; has the class ``Interpreter``.
        threads: of the runtime.
        timeout_s: for each model.
    """

    def __init__(self, module: str, threads: int, timeout_s: float) -> None:
        self._program = (sys.executable, "-P", trial.__file__, module, str(threads), str(timeout_s))
        self._timeout_s = timeout_s
        self._running: _Running | None = None

    def try_once(self, content: bytes) -> str | None:
        """Load a flatbuffer and run it once.

        Returns:
            How the process ended, if the model crashed it or took longer; else None, also where the
            runtime rejects the model: ``Runtime.load`` says why.
        """
        served = self._running is not None
        code, said = self._run(content)
        if served and code not in (None, -signal.SIGALRM):
            code, said = self._run(content)  # an earlier model may have spoilt the process
        if code is None:
            return None
        if code == -signal.SIGALRM:
            return f"took more than {self._timeout_s:g} s to load and run once"
        if code < 0:
            return f"crashes ({signal.Signals(-code).name})"
        return f"ends the program that runs it (exit status {code}: {said[:200]})"

    def close(self) -> None:
        """End the process."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def _run(self, content: bytes) -> tuple[int | None, str]:
        """Return the process's exit code and last words, if it ended; else None and nothing."""
        running = self._running = self._running or _Running(self._program)
        try:
            if running.serves(content):
                return None, ""
            ended = running.process.wait(), running.last_line()
        except BaseException:  # it would answer this model when it is asked for the next one
            self.close()
            raise
        self.close()
        return ended


class _Running:
    """A trial program that waits for models."""

    def __init__(self, program: tuple[str, ...]) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        # A pipe that nobody reads would fill up.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - `_end` closes it
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - a program of ours
                [*program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
            )
        # Devices need not be closed, and what crashes or hangs must not be waited for.
        self.end = weakref.finalize(self, _end, self.process, self._connection, self._said)

    def serves(self, content: bytes) -> bool:
        """Return whether the process is there after this model."""
        with contextlib.suppress(EOFError, OSError):
            self._connection.send_bytes(content)
            self._connection.recv_bytes()
            return True
        return False

    def last_line(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip().rpartition("\n")[2]


def _end(
    process: subprocess.Popen[bytes], connection: Connection[bytes, bytes], said: IO[bytes]
) -> None:
    process.kill()
    process.wait()
    connection.close()
    said.close()
