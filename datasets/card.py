"""What a table says about itself: the noun Card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from brpnas.errors import UserError

__all__ = ["Card"]


@dataclass(frozen=True)
class Card:
    """Where a table's numbers come from. Empty text means unknown.

    Attributes:
        title: what the table holds, in one line.
        source: paper, address or program that the numbers come from.
        device: hardware and software that was measured.
        conditions: batch size, threads, repetitions and whatever else changes the numbers.
        rebuild: how to make the table again.
        sha256: hash of the content, stamped by ``write_table``; see ``Table.intact``.
        space: name of the space that the architectures belong to.
        columns: notes on single columns, by name.
    """

    title: str = ""
    source: str = ""
    device: str = ""
    conditions: str = ""
    rebuild: str = ""
    sha256: str = ""
    space: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the card as a JSON object, one key for each attribute."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, name: str) -> Card:
        """Read a card. Keys of later versions are ignored, missing ones are unknown.

        Args:
            text: a JSON object.
            name: where the text comes from, for errors.

        Raises:
            UserError: not a JSON object, or a key holds something else than text.
        """
        try:
            content: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}: the card is not JSON ({error})") from None
        if not isinstance(content, dict):
            raise UserError(f"{name}: the card is not a JSON object")
        known = {f.name: content[f.name] for f in fields(cls) if f.name in content}
        columns = known.get("columns", {})
        if not isinstance(columns, dict):
            raise UserError(f"{name}: 'columns' of the card is not a JSON object")
        texts = {**{f"columns.{key}": note for key, note in columns.items()}, **known}
        for key, value in texts.items():
            if key != "columns" and not isinstance(value, str):
                raise UserError(f"{name}: '{key}' of the card is not text")
        return cls(**known)
