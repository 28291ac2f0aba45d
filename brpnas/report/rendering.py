"""What all report pages share: the look, in ``base.html``, and how a template becomes a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2

from brpnas.report.interactive import Plot, page_scripts
from brpnas.values import readable

__all__ = ["render"]


def render(
    template: str,
    filters: Mapping[str, Callable[..., str]] | None = None,
    plots: Sequence[Plot] = (),
    **values: Any,  # noqa: ANN401 - whatever the template shows
) -> str:
    """Return a page that needs no other file; all texts in it are escaped.

    Args:
        template: a file beside this one.
        filters: of the template, by name, besides ``number`` and ``when``.
        plots: which the template places by their number; without any, the page has no scripts.
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
    return environment.get_template(template).render(
        **values,
        plots=plots,
        scripts=page_scripts() if plots else None,
        figures=[plot.figure for plot in plots],
    )


def _source(name: str) -> str:
    return files("brpnas.report").joinpath(name).read_text(encoding="utf-8")


def _when(time: str) -> str:
    return time.replace("T", " ").replace("+00:00", " UTC")
