"""Damaged files of every format: a line for the user or, where it did no harm, success.

Never another exception, a hang, much memory, anything run, or a file written elsewhere.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corruption import MARK, damaged
from formats import FORMATS, Format
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from brpnas.cli._output import error_line
from brpnas.errors import UserError

# Sums of damaged numbers overflow; a warning of numpy's or torch's is no fault.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")

FEW = 10
MANY = 365
"""Inputs of a format, times its share: 10,000 of all."""

_SECONDS = 60
_BYTES = 6 * 2**30
_LONGEST = 2000
"""Characters of an error."""

_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
_watched: list[Path] = []
_seen: list[str] = []


class Hangs(BaseException):
    """No exception that readers turn into an error."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what starts programs, connects, or writes outside the folder that is watched."""
    if not _watched:
        return
    if event in _RUNS:
        _seen.append(f"{event} {arguments!r}"[:300])
    elif event == "open" and isinstance(arguments[0], str | bytes):
        path, mode, _ = arguments
        if isinstance(mode, str) and set(mode) & set("wax+"):
            place = Path(path.decode() if isinstance(path, bytes) else path)
            if not place.absolute().is_relative_to(_watched[0]):
                _seen.append(f"writes {path!r}")


@pytest.fixture(scope="module")
def _audited() -> None:
    sys.addaudithook(_audit)  # stays until the process ends


def _hangs(*_: object) -> None:
    raise Hangs


@contextlib.contextmanager
def _watch(folder: Path) -> Iterator[None]:
    """See that reading ends soon, takes little memory and does nothing else."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = signal.signal(signal.SIGALRM, _hangs)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _BYTES, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    _seen.clear()
    _watched.append(folder)
    try:
        yield
    finally:
        _watched.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, before)
    assert not _seen


def _check(form: Format, folder: Path, count: int, *, always_the_same: bool) -> None:
    inside = folder / "files"
    inside.mkdir()
    made = form.make(inside)
    whole = {path: path.read_bytes() for path in sorted(inside.rglob("*")) if path.is_file()}
    form.read(made)
    inputs = 0

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=always_the_same,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.data())
    def read_damaged(data: st.DataObject) -> None:
        nonlocal inputs
        inputs += 1
        path = data.draw(st.sampled_from(sorted(whole)))
        content = damaged(data, whole[path], path.suffix)
        shutil.rmtree(inside)
        for one, its_own in {**whole, path: content}.items():
            one.parent.mkdir(exist_ok=True, parents=True)
            one.write_bytes(its_own)
        if form.seal is not None and data.draw(st.booleans()):
            form.seal(inside)
        with _watch(folder):
            try:
                form.read(made)
            except UserError as error:
                said = error_line(error)
            else:
                said = "fine"
        assert 0 < len(said) <= _LONGEST
        assert not (folder / MARK).exists()

    read_damaged()
    assert inputs >= count


@pytest.mark.usefixtures("_audited")
@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_said_in_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    form = FORMATS[name]
    _check(form, tmp_path, max(2, round(FEW * form.share)), always_the_same=True)


@pytest.mark.usefixtures("_audited")
@pytest.mark.parametrize(
    "always_the_same",
    [
        # What a change is held to must not depend on chance.
        pytest.param(True, id="the_same", marks=pytest.mark.slow),
        pytest.param(False, id="anew", marks=pytest.mark.faults),
    ],
)
@pytest.mark.parametrize("name", FORMATS)
def test_much_damage(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, always_the_same: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    form = FORMATS[name]
    _check(form, tmp_path, round(MANY * form.share), always_the_same=always_the_same)


def test_there_are_ten_thousand_inputs() -> None:
    assert sum(round(MANY * form.share) for form in FORMATS.values()) >= 10_000
