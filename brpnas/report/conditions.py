"""Where a run's numbers come from: device, how it was measured, versions, seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from brpnas.datasets import Card, open_table
from brpnas.errors import UserError
from brpnas.report.summary import Facts

__all__ = ["card_conditions", "conditions", "provenance"]


def conditions(asked: Mapping[str, Any]) -> Facts:
    """Return what is known of the device that a search's costs are of, by titles.

    Args:
        asked: the arguments in the run's record.

    Returns:
        Empty if the search had no costs, or their table is no longer what it was.
    """
    for name in ("device_identity", "device"):
        if isinstance(asked.get(name), Mapping):
            return [(title, text) for title, text in _flat(asked[name]) if "sha256" not in title]
    table = asked.get("latency_table")
    if not isinstance(table, str):
        return []
    try:
        card = open_table(table).card
    except (UserError, OSError):
        return []
    same = card.sha256 and card.sha256 == asked.get("latency_table_sha256")
    return [("table", card.title), *card_conditions(card)] if same else []


def card_conditions(card: Card) -> Facts:
    """Return device and conditions of a table, which its card has as ``name: value; ...``."""
    known: Facts = []
    for title, text in (("device", card.device), ("conditions", card.conditions)):
        for part in filter(None, text.split("; ")):
            name, colon, value = part.partition(": ")
            known.append((name.replace("_", " "), value) if colon else (title, part))
    return [(name, value) for name, value in known if "sha256" not in name]


def provenance(record: Mapping[str, Any]) -> Facts:
    """Return what a run was made with, of its ``run.json``."""
    hashes = [
        (name, value)
        for name, value in record["arguments"].items()
        if name.endswith("_sha256") and isinstance(value, str)
    ]
    known = [("seed", record["seed"]), *record["versions"].items()]
    if record["git"]:
        known.append(("git revision", record["git"]))
    if record["resumed"]:
        known.append(("resumed", f"{len(record['resumed'])} times"))
    return [*known, *hashes]


def _flat(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in known.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif value not in (None, ""):
            yield str(name).replace("_", " "), str(value)
