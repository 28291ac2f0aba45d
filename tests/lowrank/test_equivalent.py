from __future__ import annotations

import pytest
import torch
from torch import nn

from brpnas.lowrank import Choice, Factors, find_layers, replace
from brpnas.lowrank.equivalent import equivalent_weight

LAYERS: dict[str, nn.Conv2d | nn.Linear] = {
    "separable:r3": nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    "input:g2:r3": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "input:g4:r2+output:g3:r2": nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    "output:g2:r2+separable:r2": nn.Conv2d(4, 6, 3, padding="same"),
    "plain:r2": nn.Conv2d(4, 6, 1),
    "plain:r2+rows:g3:r5": nn.Linear(4, 12),
}


@pytest.mark.parametrize("text", LAYERS)
def test_one_layer_computes_what_its_pairs_do(text: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[text]
    layer.double()
    x = torch.randn(2, 5, 4) if isinstance(layer, nn.Linear) else torch.randn(2, 4, 9, 11)
    model, choice = nn.Sequential(layer), Choice.parse(text)
    layers = find_layers(model, x.double())
    factors = Factors(model, layers, "plain")
    pairs, _ = replace(model, {"0": choice}, factors)
    weight = equivalent_weight(factors.weights("0", choice), layers.shapes["0"])
    with torch.no_grad():
        expected = pairs(x.double())
        assert (layer(x.double()) - expected).abs().max() > 0.01
        layer.weight.copy_(weight.view_as(layer.weight))
        assert torch.allclose(layer(x.double()), expected, atol=1e-12)
