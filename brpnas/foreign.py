"""Models that users bring: Python functions that are called, exported programs that are read."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from brpnas.errors import UserError, one_line

__all__ = ["call_function", "check_target", "read_exported", "users_code"]

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch.export.load would fall back to a full unpickling


@contextlib.contextmanager
def users_code(failed: str) -> Iterator[None]:
    """Turn whatever the user's own code raises into an error; what it prints goes to stderr.

    Args:
        failed: what is said before the error's own text.

    Raises:
        UserError: the code raised something, or wanted to end the program.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        raise UserError(f"{failed}: {one_line(f'{type(error).__name__}: {error}')}") from error


def check_target(target: str) -> None:
    """See to it that a text names a function: ``package.module:function``.

    Raises:
        UserError: it does not.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", target):
        raise UserError(f"model '{target}' is not of the form package.module:function")


def call_function(target: str) -> Any:  # noqa: ANN401 - whatever the user returns
    """Call a function of the user's without arguments.

    Args:
        target: ``package.module:function``; found from the current folder too.

    Raises:
        UserError: the target is malformed, it cannot be imported, or the function failed.
    """
    check_target(target)
    place, _, attribute = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with users_code(f"model '{target}': it cannot be imported"):
        function = getattr(importlib.import_module(place), attribute)
    with users_code(f"model '{target}': the function failed"):
        return function()


def read_exported(content: bytes, name: str) -> ExportedProgram:
    """Read an exported torch program (``.pt2``) without running anything in it.

    Pickled objects other than tensors are refused, and so are symbolic shapes, which torch would
    evaluate as Python expressions.

    Args:
        content: of the file.
        name: of the model, for errors.

    Raises:
        UserError: the content is no exported program, or it has dynamic shapes.
    """
    _refuse_symbols(content, name)
    forced = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(io.BytesIO(content))
    except Exception as error:
        raise UserError(f"{name}: no exported torch program: {one_line(error)}") from error
    finally:
        if forced is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = forced


def _refuse_symbols(content: bytes, name: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            texts = [archive.read(one) for one in archive.namelist() if one.endswith(".json")]
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"{name}: no exported torch program: {one_line(error)}") from error
    except Exception as error:  # zlib's error, which has no public base
        raise UserError(f"{name}: damaged: {one_line(error)}") from error
    if any(b'"as_expr"' in text or b'"expr_str"' in text for text in texts):
        raise UserError(f"{name}: has dynamic shapes; export it without dynamic_shapes")
