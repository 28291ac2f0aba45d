"""Runs of any kind by their path: what each is, its page, and the page of several."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from brpnas.datasets.storage import SUFFIXES
from brpnas.errors import DAMAGE, UserError, one_line
from brpnas.report.comparison import write_comparison
from brpnas.report.fits_summary import summarise_fits
from brpnas.report.fpga_page import summarise_design, write_design_report
from brpnas.report.lowrank_page import summarise_lowrank, write_lowrank_report
from brpnas.report.search_page import summarise_search, write_search_report
from brpnas.report.summary import Summary
from brpnas.report.table_page import summarise_table, write_table_report

__all__ = ["write_reports"]

_COMPARED = Path("comparison.html")
_OF_A_RUN = ("run.json", "trace.parquet")


@dataclass(frozen=True)
class _Kind:
    """What can be done with a kind of run."""

    write: Callable[[Path, Path], Path]
    summarise: Callable[[Path], Summary]


_SEARCH = _Kind(write_search_report, summarise_search)
_LOWRANK = _Kind(write_lowrank_report, summarise_lowrank)
_DESIGN = _Kind(write_design_report, summarise_design)
_TABLE = _Kind(write_table_report, summarise_table)
_FITS = _Kind(
    lambda run, page: write_comparison([(run, summarise_fits(run))], page), summarise_fits
)
_ACCEPTED = (
    "accepted are run folders of `brpnas search` and `brpnas compare`, designs (.json) of "
    "`brpnas fpga map` and measured tables (.parquet, .csv)"
)


def write_reports(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of a run again, or one page that compares several.

    Args:
        runs: at least one: run folders of searches and comparisons of predictors, designs of
            FPGAs, measured tables.
        out: the page; one that is there is replaced. If not given: ``report.html`` in a folder,
            beside a file under its name; ``comparison.html`` here for several.

    Returns:
        The page's path.

    Raises:
        UserError: one of them cannot be read or is none of these, is there twice, or the page
            cannot be written.
    """
    kinds = [_kind(run) for run in runs]
    _refuse_twice(runs)
    if len(runs) > 1:
        page = _page(runs, out or _COMPARED)
        told = []
        for run, kind in zip(runs, kinds, strict=True):
            with _damage_named(run):
                told.append((run, kind.summarise(run)))
        return write_comparison(told, page)
    own = runs[0] / "report.html" if runs[0].is_dir() else runs[0].with_suffix(".html")
    with _damage_named(runs[0]):
        return kinds[0].write(runs[0], _page(runs, out or own))


@contextlib.contextmanager
def _damage_named(run: Path) -> Iterator[None]:
    """Turn what reading a file in which values have other types ends with into a line."""
    try:
        yield
    except (*DAMAGE, jinja2.UndefinedError) as error:
        raise UserError(f"{run}: damaged: {one_line(error)}") from error


def _refuse_twice(runs: Sequence[Path]) -> None:
    known: dict[Path, Path] = {}
    for run in runs:
        where = run.resolve()
        if where in known:
            also = "" if known[where] == run else f", also as {known[where]}"
            raise UserError(f"{run}: given twice{also}; name each run once")
        known[where] = run


def _page(runs: Sequence[Path], page: Path) -> Path:
    """Refuse a page that might replace what belongs to a run: none of that is called so."""
    if page.resolve() in {run.resolve() for run in runs}:
        raise UserError(f"--out {page}: is one of the runs; name another file")
    if page.suffix.lower() != ".html" or page.is_dir():
        raise UserError(f"--out {page}: accepted is the name of a file that ends in .html")
    return page


def _kind(run: Path) -> _Kind:
    if run.is_dir():
        asked = _asked(run)
        if "predictors" in asked and "columns" in asked:
            return _FITS
        return _LOWRANK if asked.get("space") == "lowrank" else _SEARCH
    if not run.exists():
        raise UserError(f"{run}: no such folder or file; {_ACCEPTED}")
    suffix = run.suffix.lower()
    if run.name in _OF_A_RUN and all((run.parent / name).exists() for name in _OF_A_RUN):
        raise UserError(f"{run}: is a part of a run; give its folder, {run.parent}")
    if suffix == ".json":
        return _DESIGN
    if suffix in SUFFIXES:
        return _TABLE
    raise UserError(f"{run}: not a run; {_ACCEPTED}")


def _asked(folder: Path) -> dict[str, object]:
    """Return what a run folder says that it was asked."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise _no_run(folder, f"run.json: {error.strerror or one_line(error)}") from None
    except DAMAGE as error:
        raise _no_run(folder, f"run.json is not JSON: {one_line(error)}") from None
    asked = record.get("arguments") if isinstance(record, dict) else None
    if not isinstance(asked, dict):
        raise _no_run(folder, "run.json does not say what was asked")
    return asked


def _no_run(folder: Path, why: str) -> UserError:
    return UserError(f"{folder}: not a run folder ({why}); {_ACCEPTED}")
