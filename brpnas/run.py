"""The run folder: what was asked, and one row for every evaluated network.

``run.json`` holds the arguments, versions, seed, git revision, times and the result;
``trace.parquet`` holds the networks in the order they were asked for. Both are replaced as a
whole, so that a kill at any moment leaves files that can be read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from brpnas.errors import DAMAGE, UserError
from brpnas.files import replace_file, temporary
from brpnas.values import finite

__all__ = ["Run", "Step", "check_folder"]

_RECORD, _TRACE, _LOCK = "run.json", "trace.parquet", ".lock"
_FIXED = {
    "step": pa.int64(),
    "iteration": pa.int64(),
    "origin": pa.string(),
    "arch": pa.string(),
    "expected": pa.float64(),
}
_SAVE_SECONDS = 0.5  # a row is on the disk within a second, the writing included


@dataclass(frozen=True)
class Step:
    """A row of the trace.

    Attributes:
        iteration: the strategy's round, from 0.
        origin: why the strategy asked for the network.
        arch: the network's text.
        metrics: every metric of the evaluator, in its order; NaN where missing.
        error: why the evaluation failed, or None.
        expected: what the strategy expected of the objective; NaN if nothing.
    """

    iteration: int
    origin: str
    arch: str
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    expected: float = math.nan


class Run:
    """An open run folder, locked against other processes; a context manager.

    While it is open, new rows reach the disk within about a second, by a thread of its own: an
    evaluation may take hours, and what was finished before it must survive a kill.

    Attributes:
        folder: the folder.
        steps: the rows so far, those of an earlier, killed process included.
        record: what ``run.json`` holds.

    Args:
        folder: made if it does not exist.
        arguments: what the run was asked to do; values that JSON can hold.
        seed: the run's seed.
        resume: continue the run that the folder holds, if it holds one.
        free: names of arguments that do not change the result, so that a resumed run may have
            others.

    Raises:
        UserError: the folder cannot be written, is in use, is not empty (without ``resume``),
            holds a run with other arguments, or damaged files.
    """

    def __init__(
        self,
        folder: str | Path,
        arguments: Mapping[str, Any],
        seed: int,
        resume: bool = False,
        free: Collection[str] = (),
    ) -> None:
        self.folder = Path(folder)
        self.steps: list[Step] = []
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._failure: OSError | None = None
        # Through JSON once, so that tuples compare equal to the lists that are read back.
        asked = json.loads(json.dumps({**arguments, "seed": seed}))
        self._lock = _lock(self.folder)
        try:
            self.record = self._open(asked, seed, resume, free)
        except BaseException:
            self._lock.close()
            raise
        self._saved = len(self.steps)
        self._thread = threading.Thread(target=self._save_often, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def done(self) -> bool:
        """Whether an earlier process finished it: its trace and result are there."""
        return self.record["finished"] is not None and bool(self.steps)

    def append(self, step: Step) -> None:
        """Add a row; it is on the disk within about a second.

        Raises:
            UserError: earlier rows could not be written, or they have other metrics.
        """
        if self._failure:
            raise _cannot_write(self.folder, self._failure) from self._failure
        if self.steps and self.steps[0].metrics.keys() != step.metrics.keys():
            known = ", ".join(self.steps[0].metrics)
            raise UserError(
                f"{self.folder / _TRACE} is damaged: it has the metrics {known}; those of this run "
                f"are {', '.join(step.metrics)}"
            )
        with self._mutex:
            self.steps.append(step)

    def save(self) -> None:
        """Write all rows now.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            self._save()
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write all rows, the result and the time; a run that was finished before keeps its own.

        Args:
            result: values that JSON can hold; NaN and infinities are written as null.
        """
        self.save()
        if self.record["finished"] is None:
            self.record |= {"finished": _now(), "result": finite(result)}
            self._write_record(self.record)

    def close(self) -> None:
        """Write all rows and release the folder."""
        self._stop.set()
        self._thread.join()
        try:
            self.save()
        finally:
            self._lock.close()

    def _open(
        self, asked: dict[str, Any], seed: int, resume: bool, free: Collection[str]
    ) -> dict[str, Any]:
        session = {"started": _now(), "versions": _versions(), "git": _git_revision()}
        check_folder(self.folder, resume)
        if _unused(self.folder):
            record: dict[str, Any] = {
                "arguments": asked,
                "seed": seed,
                **session,
                "resumed": [],
                "finished": None,
                "result": None,
            }
            self._write_record(record)
            return record
        record = _read_record(self.folder / _RECORD)
        _check_arguments(self.folder, record["arguments"], asked, free)
        if (self.folder / _TRACE).exists():
            self.steps = _read_trace(self.folder / _TRACE)
        if record["finished"] is None:
            record["resumed"].append(session)
            self._write_record(record)
        return record

    def _write_record(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        try:
            replace_file(self.folder / _RECORD, text.encode())
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def _save(self) -> None:
        with self._mutex:
            if self._saved < len(self.steps):
                replace_file(self.folder / _TRACE, _trace_bytes(self.steps))
                self._saved = len(self.steps)

    def _save_often(self) -> None:
        while not self._stop.wait(_SAVE_SECONDS):
            try:
                self._save()
                self._failure = None
            except OSError as error:
                self._failure = error


def _cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to run folder {folder}: {error.strerror or error}")


def _unused(folder: Path) -> bool:
    """Return whether the folder holds at most what a kill during the first record leaves."""
    return all(path.name in (_LOCK, temporary(Path(_RECORD)).name) for path in folder.iterdir())


def check_folder(folder: Path, resume: bool) -> None:
    """Check that a run can have a folder, without making or locking it.

    Args:
        folder: it need not be there.
        resume: whether it may hold a run.

    Raises:
        UserError: it holds something else, or a run (without ``resume``).
    """
    try:
        if not folder.exists() or _unused(folder):
            return
    except OSError as error:
        raise _cannot_write(folder, error) from error
    if not (folder / _RECORD).exists():
        raise UserError(
            f"folder {folder} is not empty and holds no {_RECORD}: choose another folder"
        )
    if not resume:
        raise UserError(f"folder {folder} holds a run already: resume it or choose another folder")


def _lock(folder: Path) -> IO[str]:
    """Make the folder and lock it; the lock dies with this process, however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = not (folder / _LOCK).exists() and not (folder / _RECORD).exists()
        if foreign and not _unused(folder):
            raise UserError(f"folder {folder} is not empty and holds no run: choose another folder")
        lock = (folder / _LOCK).open("a+")
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except OSError as error:
        lock.seek(0)
        owner = lock.read()
        lock.close()
        if isinstance(error, BlockingIOError):
            raise UserError(f"run folder {folder} is in use by process {owner}") from error
        raise _cannot_write(folder, error) from error
    return lock


def _check_arguments(
    folder: Path, before: dict[str, Any], now: dict[str, Any], free: Collection[str]
) -> None:
    names = [name for name in {**before, **now} if name not in free]
    differences = [
        f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in names
        if (name in before, before.get(name)) != (name in now, now.get(name))
    ]
    if differences:
        raise UserError(f"{folder} is a run folder of another run: {'; '.join(differences)}")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(record, allow_nan=False)  # it will be written again
    except (OSError, ValueError, RecursionError) as error:  # bad UTF-8 is a ValueError
        raise UserError(f"cannot read {path}: {error}") from error
    kinds = {"arguments": dict, "resumed": list, "finished": str | None, "result": dict | None}
    for name, kind in kinds.items():
        if not isinstance(record, dict) or not isinstance(record.get(name, ...), kind):
            raise UserError(f"{path} is damaged: '{name}' is missing or of another type")
    return dict(record)


def _read_trace(path: Path) -> list[Step]:
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        table.validate(full=True)
    except (OSError, pa.ArrowException, *DAMAGE) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    metrics = [name for name in table.column_names if name not in (*_FIXED, "error")]
    if table.schema.remove_metadata() != _schema(metrics):
        raise UserError(f"{path} is damaged: its columns are not those of a trace")
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    if columns["step"] != list(range(table.num_rows)):
        raise UserError(f"{path} is damaged: its steps are not 0, 1, 2, ...")
    for name in table.column_names:
        if name != "error" and table.column(name).null_count:
            raise UserError(f"{path} is damaged: column '{name}' has empty cells")
    return [
        Step(
            iteration=columns["iteration"][row],
            origin=columns["origin"][row],
            arch=columns["arch"][row],
            metrics={name: columns[name][row] for name in metrics},
            error=columns["error"][row],
            expected=columns["expected"][row],
        )
        for row in range(table.num_rows)
    ]


def _schema(metrics: Collection[str]) -> pa.Schema:
    return pa.schema({**_FIXED, **dict.fromkeys(metrics, pa.float64()), "error": pa.string()})


def _trace_bytes(steps: list[Step]) -> pa.Buffer:
    metrics = list(steps[0].metrics)
    columns: list[list[Any]] = [
        list(range(len(steps))),
        [step.iteration for step in steps],
        [step.origin for step in steps],
        [step.arch for step in steps],
        [step.expected for step in steps],
        *([step.metrics[name] for step in steps] for name in metrics),
        [step.error for step in steps],
    ]
    schema = _schema(metrics)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink)
    return sink.getvalue()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("brpnas", "torch", "numpy")}
    return {**packages, "python": platform.python_version()}


def _git_revision() -> str | None:
    """Return the commit of the running code, marked if files changed; None if not from git."""
    git = shutil.which("git")
    if git is None:
        return None
    source = Path(__file__)

    def ask(*command: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, "-C", str(source.parent), *command],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # An installed package may lie inside another project's repository: is this file in it?
        ask("ls-files", "--error-unmatch", source.name)
        return ask("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return None
