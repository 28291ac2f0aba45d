"""The modules that take a layer's place: of torch's own kinds wherever one can say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank.schemes import Choice, Pair

__all__ = ["LayerWeights", "LowRankRows", "LowRankSum", "PairWeights", "build", "from_state"]

L = TypeVar("L", nn.Conv2d, nn.Linear)


@dataclass(frozen=True, eq=False)
class PairWeights:
    """Weights of a pair of layers.

    Attributes:
        pair: what they are of.
        first: shape (outputs, inputs / groups, height, width).
        second: in the same manner; of ``rows`` one for each part.
    """

    pair: Pair
    first: Tensor
    second: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """Weights of all that takes a layer's place.

    Attributes:
        pairs: one or two.
        bias: shape (outputs,), if there is one; that of the first pair's second layer.
    """

    pairs: tuple[PairWeights, ...]
    bias: Tensor | None


class LowRankSum(nn.Module):
    """Two pairs side by side, of which the outputs are summed."""

    def __init__(self, pairs: Sequence[nn.Module]) -> None:
        super().__init__()
        self.pairs = nn.ModuleList(pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of what the pairs return."""
        first, second = self.pairs
        total: Tensor = first(x) + second(x)
        return total


class LowRankRows(nn.Module):
    """The second layer of ``rows``: each part of the outputs is made from its own part of x."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        ends = torch.tensor([part.in_features for part in parts]).cumsum(0).tolist()
        self._spans = list(zip([0, *ends[:-1]], ends, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the parts' outputs one behind the other, shape (..., outputs)."""
        spans = zip(self.parts, self._spans, strict=True)
        return torch.cat([part(x[..., start:end]) for part, (start, end) in spans], -1)


def build(layer: nn.Module, weights: LayerWeights) -> nn.Module:
    """Return what takes a layer's place, with its type, device and mode.

    Args:
        layer: a convolution without groups, or a linear layer.
        weights: of its pairs; cast to the layer's type.
    """
    assert isinstance(layer, nn.Conv2d | nn.Linear)  # noqa: S101 - for the type checker
    biases = [weights.bias, None]
    pairs = [
        _linear_pair(pair, bias)
        if isinstance(layer, nn.Linear)
        else _convolution_pair(layer, pair, bias)
        for pair, bias in zip(weights.pairs, biases, strict=False)
    ]
    built = pairs[0] if len(pairs) == 1 else LowRankSum(pairs)
    built.to(layer.weight.device, layer.weight.dtype)
    built.requires_grad_(layer.weight.requires_grad)
    return built.train(layer.training)


def from_state(name: str, choice: Choice, state: Mapping[str, Tensor]) -> LayerWeights:
    """Take the weights of a layer that was replaced from the state of its network.

    Raises:
        UserError: the state has no such weights, or of another rank.
    """
    pairs, bias = [], None
    for i, pair in enumerate(choice.pairs):
        prefix = name if len(choice.pairs) == 1 else f"{name}.pairs.{i}"
        parts = range(pair.scheme.groups)
        rows = pair.scheme.family == "rows"
        seconds = [f"{prefix}.1.parts.{j}" for j in parts] if rows else [f"{prefix}.1"]
        try:
            first = _four(state[f"{prefix}.0.weight"])
            second = tuple(_four(state[f"{second}.weight"]) for second in seconds)
        except KeyError as error:
            raise UserError(f"no weights {error} for layer '{name}', {choice}") from None
        rank = len(first) if rows else len(first) // pair.scheme.groups
        if rank != pair.rank:
            raise UserError(f"the weights of layer '{name}' are of rank {rank}, not of {choice}")
        if i == 0 and f"{seconds[0]}.bias" in state:
            bias = torch.cat([state[f"{second}.bias"] for second in seconds])
        pairs.append(PairWeights(pair, first, second))
    return LayerWeights(tuple(pairs), bias)


def _four(weight: Tensor) -> Tensor:
    return weight if weight.ndim == 4 else weight[:, :, None, None]


def _convolution_pair(layer: nn.Conv2d, weights: PairWeights, bias: Tensor | None) -> nn.Module:
    """Return two convolutions; what is done to the input's border is done where the window is."""
    family, groups = weights.pair.scheme.family, weights.pair.scheme.groups
    if family == "separable":
        first = _convolution(layer, weights.first, None, 1, (False, True))
        second = _convolution(layer, weights.second[0], bias, 1, (True, False))
    elif family in ("input", "plain"):
        first = _convolution(layer, weights.first, None, groups, (True, True))
        second = _convolution(layer, weights.second[0], bias, 1, (False, False))
    else:
        first = _convolution(layer, weights.first, None, 1, (False, False))
        second = _convolution(layer, weights.second[0], bias, groups, (True, True))
    return nn.Sequential(first, second)


def _convolution(
    like: nn.Conv2d, weight: Tensor, bias: Tensor | None, groups: int, along: tuple[bool, bool]
) -> nn.Conv2d:
    """Return a convolution that moves as the layer does along height or width, or plainly."""

    def moves(values: tuple[int, ...], plain: int) -> Any:  # noqa: ANN401 - pairs of integers
        return tuple(v if here else plain for v, here in zip(values, along, strict=True))

    padding: Any = like.padding if isinstance(like.padding, str) else moves(like.padding, 0)
    made = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride=moves(like.stride, 1),
        padding=padding,
        dilation=moves(like.dilation, 1),
        groups=groups,
        bias=bias is not None,
        padding_mode=like.padding_mode if any(along) else "zeros",
        device="meta",
    )
    return _filled(made, weight, bias)


def _linear_pair(weights: PairWeights, bias: Tensor | None) -> nn.Module:
    first = _linear(weights.first, None)
    ends = [part.shape[0] for part in weights.second]
    biases = [None] * len(ends) if bias is None else list(torch.split(bias, ends))
    parts = [_linear(part, b) for part, b in zip(weights.second, biases, strict=True)]
    return nn.Sequential(first, parts[0] if len(parts) == 1 else LowRankRows(parts))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    return _filled(made, weight.flatten(1), bias)


def _filled(layer: L, weight: Tensor, bias: Tensor | None) -> L:
    layer.weight = nn.Parameter(weight.detach().contiguous())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().contiguous())
    return layer
