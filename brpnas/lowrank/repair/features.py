"""What the last layer of a network sees: the features that it tells classes apart by."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from torch import Tensor, nn

from brpnas.lowrank.layers import layer_input
from brpnas.lowrank.repair.job import outputs

__all__ = ["WithFeatures", "last_layer"]


def last_layer(model: nn.Module, images: Tensor) -> str | None:
    """Return the name of the convolution or linear layer that runs last; None if none does.

    Args:
        model: is run in evaluation mode.
        images: shape (n, c, h, w).
    """
    called: list[str] = []

    def note(name: str, *_: object) -> None:
        called.append(name)

    with contextlib.ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        outputs(model, images)
    return called[-1] if called else None


class WithFeatures:
    """A network that returns what one of its layers saw, besides its scores.

    Args:
        model: gets a hook, and keeps it.
        layer: its name; what is in its place if it was replaced; None for no features.
    """

    def __init__(self, model: nn.Module, layer: str | None) -> None:
        self._model = model
        self._seen: Tensor | None = None
        if layer is not None:
            model.get_submodule(layer).register_forward_pre_hook(self._note, with_kwargs=True)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the scores and the features of images."""
        return self._model(x), self._seen

    def _note(self, _: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401 - torch's signature
        self._seen = layer_input(args, kwargs)
