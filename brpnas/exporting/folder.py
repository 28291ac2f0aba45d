"""Folders that appear with all their files or not at all."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from brpnas.errors import UserError, one_line

__all__ = ["whole_folder"]

_WORK = ".brpnas-"


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder whose files move to ``path`` at the end, unless an error comes before.

    Args:
        path: of a folder that does not exist, or is empty.

    Raises:
        UserError: something is there already, or nothing can be written there.
    """
    target = path.resolve()
    try:
        there = target.exists()
        if there and not target.is_dir():
            raise UserError(f"--out {path} is a file; accepted: a new or empty folder")
        # What a killed command leaves in a folder does not count.
        if there and not all(one.name.startswith(_WORK) for one in target.iterdir()):
            raise UserError(f"--out {path} is not empty; accepted: a new or empty folder")
        # Beside what it becomes, so that moving is no copying.
        beside = target if there else next(one for one in target.parents if one.exists())
        work = beside / f"{_WORK}{uuid.uuid4().hex}"
        work.mkdir()
    except OSError as error:
        raise UserError(f"--out {path} cannot be written ({one_line(error)})") from None
    try:
        yield work
        if there:  # it is the caller's, with its permissions
            for file in work.iterdir():
                file.replace(target / file.name)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            work.rename(target)  # refused if another command has filled it meanwhile
    except OSError as error:
        raise UserError(f"--out {path} cannot be written ({one_line(error)})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
