from __future__ import annotations

import torch
from torch import Tensor, nn

from brpnas.lowrank.cache import Recent


def test_those_asked_for_longest_ago_go_first() -> None:
    recent: Recent[Tensor] = Recent(3 * 800)
    made: list[str] = []

    def ask(key: str, numbers: int = 100) -> None:
        def make() -> Tensor:
            made.append(key)
            return torch.zeros(numbers, dtype=torch.float64)

        assert len(recent.get(key, make)) == numbers

    for key in "abcabda":  # d drives c out
        ask(key)
    assert "".join(made) == "abcd"
    ask("c")
    assert "".join(made) == "abcdc"
    assert recent.held_bytes == 3 * 800
    ask("large", 1000)
    ask("large", 1000)
    assert "".join(made) == "abcdclarge"
    assert len(recent) == 1


def test_what_counts_is_the_memory_that_is_held() -> None:
    whole = torch.zeros(1000)
    recent: Recent[object] = Recent(1 << 30)
    recent.get("part of a tensor, twice", lambda: (whole[:3], whole[5:]))
    assert recent.held_bytes == 4000
    recent.get("borrowed", lambda: (whole, torch.zeros(2)), whole)
    assert recent.held_bytes == 4008
    recent.get("module", lambda: nn.Sequential(nn.Linear(10, 20), nn.ReLU()))
    assert recent.held_bytes == 4008 + 4 * 220
