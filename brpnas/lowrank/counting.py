"""Multiply-accumulates of a network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from brpnas.evaluating import evaluating

__all__ = ["count_macs"]

_ATEN = torch.ops.aten
_WITH_WEIGHTS = (_ATEN.convolution, _ATEN._convolution, _ATEN.mm, _ATEN.addmm)


def count_macs(model: nn.Module, example: Tensor) -> int:
    """Run a network once and count what convolutions and linear layers multiply.

    Products of activations, as in attention, do not count: they hold no weights, and which of
    torch's ways to compute them is taken depends on more than the network.

    Args:
        model: run in evaluation mode, and left as it was.
        example: an input with its batch dimension; the whole batch counts.
    """
    try:
        return _count(model, example, trained=True)
    except RuntimeError:  # it changes in place what gradients need
        return _count(model, example, trained=False)


def _count(model: nn.Module, example: Tensor, *, trained: bool) -> int:
    counter = FlopCounterMode(display=False)
    # As in training, even of frozen parameters: else torch may compute a linear layer as it does
    # products of activations, and the counter trips over a parameter that a module gets as input.
    parameters = {
        name: one.detach().requires_grad_(trained and one.is_floating_point())
        for name, one in model.named_parameters()
    }
    with evaluating(model), torch.set_grad_enabled(trained), _layer_by_layer(), counter:
        functional_call(model, parameters, (example,))
    counts = counter.get_flop_counts().get("Global", {})
    return sum(int(counts.get(kind, 0)) for kind in _WITH_WEIGHTS) // 2


@contextlib.contextmanager
def _layer_by_layer() -> Iterator[None]:
    """Keep torch from running a transformer's layer as one operation, which does not count."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
