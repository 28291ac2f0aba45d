"""Multiply-accumulates of one forward pass: the device that only computes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from brpnas.devices.device import Device, Measurement
from brpnas.errors import UserError

__all__ = ["MacCounter"]


def _convolution(layer: nn.Module, output: Tensor) -> int:
    assert isinstance(layer, nn.Conv2d)  # noqa: S101 - for the type checker
    inputs = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return output.numel() * inputs


def _linear(layer: nn.Module, output: Tensor) -> int:
    assert isinstance(layer, nn.Linear)  # noqa: S101 - for the type checker
    return output.numel() * layer.in_features


def _normalisation(layer: nn.Module, output: Tensor) -> int:  # noqa: ARG001 - one kind of function
    return 0


# By exact type: a subclass, or a layer with a parametrisation, may compute something else.
_MACS: dict[type[nn.Module], Callable[[nn.Module, Tensor], int]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm2d: _normalisation,
}
"""What a layer that holds parameters multiplies, given its output."""


class MacCounter(Device):
    """Counts the multiply-accumulates of convolutions and linear layers.

    Each element of a convolution's output takes ``in_channels / groups * kernel_height *
    kernel_width`` of them, each of a linear layer's ``in_features``. Biases are additions and do
    not count; batch-norm does not, since it folds into the convolution before it, nor does
    anything that holds no parameters (activations, pooling, additions, products of activations).
    """

    def measure(self, model: nn.Module, example_input: Tensor) -> Measurement:
        """Run the model once, in evaluation mode, and count; the model is left as it was.

        Args:
            model: any module; a layer that is run twice counts twice.
            example_input: with its batch dimension; the whole batch counts.

        Returns:
            One sample in the unit ``macs``.

        Raises:
            UserError: a layer has parameters and is none that this class can count.
        """
        layers = {
            name: layer
            for name, layer in model.named_modules()
            if next(layer.parameters(recurse=False), None) is not None
        }
        for name, layer in layers.items():
            if type(layer) not in _MACS:
                known = ", ".join(kind.__name__ for kind in _MACS)
                raise UserError(
                    f"cannot count the multiply-accumulates of layer '{name or '(the model)'}', "
                    f"a {type(layer).__name__}; known layers: {known}"
                )
        total = 0

        def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal total
            total += _MACS[type(layer)](layer, output)

        training = [(module, module.training) for module in model.modules()]
        hooks = [layer.register_forward_hook(count) for layer in layers.values()]
        try:
            model.eval()  # or batch-norm would take the example for training data
            with torch.no_grad():
                model(example_input)
        finally:
            for hook in hooks:
                hook.remove()
            for module, was_training in training:
                module.training = was_training
        shape = " x ".join(map(str, example_input.shape))
        return Measurement((float(total),), "macs", f"one forward pass, input {shape}, computed")
