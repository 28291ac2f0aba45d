from __future__ import annotations

import json

import pytest

from brpnas.datasets import Card
from brpnas.errors import UserError


def test_round_trip_keeps_every_field() -> None:
    names = ["title", "source", "device", "conditions", "rebuild", "sha256", "space"]
    card = Card(**{name: f"<{name}> µ" for name in names}, columns={"latency_ms": "median of 10"})
    assert Card.from_json(card.to_json(), "t") == card


def test_missing_keys_are_unknown_and_later_keys_ignored() -> None:
    card = Card.from_json('{"title": "x", "invented_later": [1]}', "t")
    assert card == Card(title="x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps({"title": 3}), "'title' of the card is not text"),
        (json.dumps({"columns": []}), "'columns' of the card is not a JSON object"),
        (json.dumps({"columns": {"a": 1}}), r"'columns\.a' of the card is not text"),
    ],
)
def test_damaged_cards_are_named(text: str | bytes, reason: str) -> None:
    with pytest.raises(UserError, match=f"^lab.card.json: .*{reason}"):
        Card.from_json(text, "lab.card.json")
