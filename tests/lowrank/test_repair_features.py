from __future__ import annotations

import torch
from torch import Tensor, nn

from brpnas.lowrank.repair.features import WithFeatures, last_layer


def test_last_layer_is_the_last_that_runs_and_may_be_replaced_or_missing() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(32, 3), nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(input=self.body(x).flatten(1))
            return scores

    model, x = Turned(), torch.randn(2, 3, 4, 4)
    assert last_layer(model, x) == "head"
    body = model.body(x).flatten(1)
    scores, seen = WithFeatures(model, "head")(x)
    assert seen is not None
    torch.testing.assert_close(seen, body)
    torch.testing.assert_close(scores, model.head(body))
    assert last_layer(nn.Flatten(), x) is None
    assert WithFeatures(nn.Flatten(), None)(x)[1] is None
