"""The one layer that computes what low-rank pairs in its place compute."""

from __future__ import annotations

import torch
from torch import Tensor

from brpnas.lowrank.modules import LayerWeights, PairWeights
from brpnas.lowrank.shapes import LayerShape

__all__ = ["equivalent_weight"]


def equivalent_weight(weights: LayerWeights, shape: LayerShape) -> Tensor:
    """Multiply pairs out: a layer with this weight computes what they compute together.

    Args:
        weights: of the pairs.
        shape: of the layer in whose place they are.

    Returns:
        The weight, shape (outputs, inputs, height, width), in the type of the pairs' weights.
    """
    size = (shape.outputs, shape.inputs, *shape.kernel)
    products = [
        (_rows(pair) if pair.pair.scheme.family == "rows" else _product(pair)).reshape(size)
        for pair in weights.pairs
    ]
    return torch.stack(products).sum(0)


def _product(weights: PairWeights) -> Tensor:
    family, groups = weights.pair.scheme.family, weights.pair.scheme.groups
    first, second = weights.first, weights.second[0]
    first = first.view(groups, -1, *first.shape[1:])  # (g, r, c, k, l)
    if family == "input":  # its second layer sees all groups
        second = second.view(len(second), groups, -1, 1, 1).transpose(0, 1)  # (g, o, r, i, j)
        return torch.einsum("gorij,grckl->ogcikjl", second, first)
    second = second.view(groups, -1, *second.shape[1:])
    # Along each side only one of the two layers has a window, so windows multiply out too.
    return torch.einsum("gorij,grckl->gocikjl", second, first)


def _rows(weights: PairWeights) -> Tensor:
    firsts = torch.split(weights.first.flatten(1), [part.shape[1] for part in weights.second])
    parts = zip(weights.second, firsts, strict=True)
    return torch.cat([second.flatten(1) @ first for second, first in parts])
