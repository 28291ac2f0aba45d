"""Write what the pages take from the code: the options of commands, and the picture of the rooms.

    python docs/generate.py

The options stand between ``<!-- options: fpga map -->`` and ``<!-- end -->`` in some page, for each
command once; the parts between ``<!-- parts -->`` and ``<!-- end -->`` in architecture.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rooms import parts_table, picture
from typer.main import get_command

from brpnas.cli import app

__all__ = ["commands", "generated", "options"]

DOCS = Path(__file__).resolve().parent
_MARKED = re.compile(r"(<!-- (options: [\w ]+|parts) -->\n).*?(<!-- end -->)", re.DOTALL)
_TYPES = {
    **{"str": "text", "int": "whole number", "int range": "whole number", "path": "path"},
    **{"float": "number", "float range": "number", "bool": ""},
}


def commands() -> dict[str, Any]:
    """Return every command that does something, by what is typed: ``"fpga map"``."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's own
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
            return
        for word, part in inner.items():
            yield from below(f"{name} {word}".strip(), part)

    return dict(below("", get_command(app)))


def options(name: str) -> str:
    """Return the arguments and options of a command as Markdown: a table for each group."""
    command = commands()[name]
    context = command.context_class(command, info_name=name)
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        if parameter.name == "help":
            continue
        group = getattr(parameter, "rich_help_panel", None) or ""
        groups.setdefault(group, []).append(_row(parameter, context))
    head = "| option | takes | default | what it does |\n|---|---|---|---|\n"
    tables = [
        (f"**{group}**\n\n" if group else "") + head + "".join(rows)
        for group, rows in groups.items()
    ]
    return "\n" + "\n".join(tables) + "\n"


def _row(parameter: Any, context: Any) -> str:  # noqa: ANN401 - typer's own
    if parameter.param_type_name == "argument":
        names = f"`{parameter.display_name_raw.upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    cells = (names, _takes(parameter, context), _default(parameter), parameter.help)
    return "| " + " | ".join(_cell(text) for text in cells) + " |\n"


def _cell(text: str) -> str:
    for sign, written in (("|", "\\|"), ("<", "&lt;"), ("*", "\\*")):
        text = text.replace(sign, written)
    return " ".join(text.split())


def _takes(parameter: Any, context: Any) -> str:  # noqa: ANN401 - typer's own
    shown = str(parameter.display_type_rich(ctx=context)).strip("<>")
    inner = re.fullmatch(r"list\[(.+)\]", shown)
    plain = (inner[1] if inner else shown).replace("Path", "path")
    words = [_TYPES.get(plain, f"`{plain}`")]  # others say themselves how they are called
    low, high = parameter.min, parameter.max
    if low is not None:
        # A limit of 2^63 - 1 is the machine's.
        open_above = high is None or high > 2**62
        words.append(f"from {low}" if open_above else f"{low} to {high}")
    if inner:
        words.append("repeatable")
    return ", ".join(filter(None, words))


def _default(parameter: Any) -> str:  # noqa: ANN401 - typer's own
    if parameter.required:
        return "needed"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    value = parameter.default
    if value is None or value == [] or value == () or callable(value):
        return ""
    if isinstance(value, bool):
        return ("on" if value else "off") if parameter.secondary_opts else ""
    several = value if isinstance(value, list | tuple) else [value]
    return ", ".join(f"`{each}`" for each in several)


def generated() -> dict[Path, str]:
    """Return what every file that holds something generated has to hold."""

    def filled(match: re.Match[str]) -> str:
        what = match[2]
        content = parts_table() if what == "parts" else options(what.partition(": ")[2])
        return match[1] + content + match[3]

    pages = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    files = {
        path: _MARKED.sub(filled, text) for path, text in pages.items() if _MARKED.search(text)
    }
    return {**files, DOCS / "images" / "rooms.svg": picture()}


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
