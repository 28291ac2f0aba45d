"""What all report pages share: the look, in ``base.html``, and how a template becomes a page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from brpnas.values import readable

__all__ = ["embedded", "render"]


def render(
    template: str,
    filters: Mapping[str, Callable[..., str]] | None = None,
    **values: Any,  # noqa: ANN401 - whatever the template shows
) -> str:
    """Return a page that needs no other file; all texts in it are escaped.

    Args:
        template: a file beside this one.
        filters: of the template, by name, besides ``number`` and ``when``.
        values: of the template, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": readable, "when": _when, **(filters or {})}
    return environment.get_template(template).render(**values)


def embedded(picture: Path) -> str:
    """Return a picture's bytes as base64, to stand in the page itself."""
    return base64.b64encode(picture.read_bytes()).decode()


def _source(name: str) -> str:
    return files("brpnas.report").joinpath(name).read_text(encoding="utf-8")


def _when(time: str) -> str:
    return time.replace("T", " ").replace("+00:00", " UTC")
