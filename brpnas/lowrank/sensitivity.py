"""How much each choice of each layer changes the network's scores, all from one backward pass.

To first order, a layer whose outputs change by e changes a number s that the scores give by <g, e>,
g the gradient of s with respect to the layer's outputs; and e is linear in the change of the
weights, so <g, e> = <G, V - W> + <sum of g, bias' - bias>, with G the gradient with respect to the
weights, one image at a time. For s = <r, scores>, r random signs about their mean, the mean of
<g, e>^2 is the mean squared change of the scores about their mean: so the damage of every choice
follows without running any of them (compare the Fisher information, which takes s = log p(y), y
drawn from the network's answer: where a network is sure of its training images, that says little).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.errors import UserError, one_line
from brpnas.evaluating import evaluating
from brpnas.lowrank.equivalent import equivalent_weight
from brpnas.lowrank.factors import Factors
from brpnas.lowrank.layers import layer_input
from brpnas.lowrank.moments import padded
from brpnas.lowrank.schemes import Choice

__all__ = ["find_damages"]

_GRADIENT_NUMBERS = 1 << 24
"""Numbers of a layer's gradients that exist at a time, 64 MiB."""


def find_damages(
    model: nn.Module,
    factors: Factors,
    options: Mapping[str, Sequence[Choice]],
    images: Tensor,
    seed: int = 0,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Return the mean squared change of the scores for each choice, alone in the network.

    Args:
        model: run in evaluation mode, and left as it was; returns scores, shape (n, classes).
        factors: of it.
        options: choices by layer; `DENSE` is none of them.
        images: as the network takes them, shape (n, ...).
        seed: of the random signs.
        batch: images at a time.
        progress: called with (images done, images).

    Returns:
        By layer, the damages in the order of its options, float64, in squares of the scores'
        unit: mean over images, sum over classes about their mean. First order: good where they
        are small; large ones are more likely greater still.

    Raises:
        UserError: the network returns something else than scores of classes, or does something
            that has no gradient.
    """
    modules = dict(model.named_modules())
    changes = {
        name: _changes(factors, name, choices) for name, choices in options.items() if choices
    }
    sums = {
        name: torch.zeros(len(choices), dtype=torch.float64) for name, choices in options.items()
    }
    if not changes:
        return sums
    signs = torch.Generator().manual_seed(seed)
    done = 0
    for x in torch.split(images, batch):
        with evaluating(model), torch.enable_grad():
            seen, scores = _run(model, {name: modules[name] for name in changes}, x)
            r = torch.randint(0, 2, scores.shape, generator=signs) * 2.0 - 1
            r -= r.mean(1, keepdim=True)
            reached = [name for name in changes if name in seen]
            outputs = [output for name in reached for _, output in seen[name]]
            try:  # what the scores do not depend on has a gradient of 0
                gradients = torch.autograd.grad((scores * r).sum(), outputs, materialize_grads=True)
            except RuntimeError as error:
                raise UserError(f"the network has no gradients: {one_line(error)}") from error
        grads = iter(gradients)
        for name in reached:
            total = sum(
                _first_order(modules[name], x_in, next(grads), len(x), *changes[name])
                for x_in, _ in seen[name]
            )
            assert isinstance(total, Tensor)  # noqa: S101 - for the type checker
            sums[name] += total.double().square().sum(0)
        done += len(x)
        if progress:
            progress(done, len(images))
    return {name: total / len(images) for name, total in sums.items()}


def _changes(factors: Factors, name: str, choices: Sequence[Choice]) -> tuple[Tensor, Tensor]:
    """Return what each choice adds to weights and bias, (options, O C Kh Kw) and (options, O)."""
    weight, bias = factors.dense(name)
    weights, biases = [], []
    for choice in choices:
        found = factors.weights(name, choice)
        change = equivalent_weight(found, factors.layers.shapes[name]) - weight
        weights.append(change.flatten().float())
        before = torch.zeros(len(weight)) if bias is None else bias
        after = torch.zeros(len(weight)) if found.bias is None else found.bias
        biases.append((after - before).float())
    return torch.stack(weights), torch.stack(biases)


def _run(
    model: nn.Module, layers: Mapping[str, nn.Module], x: Tensor
) -> tuple[dict[str, list[tuple[Tensor, Tensor]]], Tensor]:
    """Return inputs and outputs of each call of the layers, and the scores."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def note(name: str) -> Callable[..., Tensor]:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:  # noqa: ANN401 - torch's signature
            # Weights that need no gradient give outputs that need none either.
            output = output if output.requires_grad else output.requires_grad_()
            # The network may change the layer's input and output in place later.
            seen.setdefault(name, []).append((layer_input(args, kwargs).detach().clone(), output))
            return output.clone()

        return hook

    handles = [
        layer.register_forward_hook(note(name), with_kwargs=True) for name, layer in layers.items()
    ]
    try:
        scores = model(x)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(x):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise UserError(
            f"the network must return scores of shape (images, classes); of {len(x)} images "
            f"they are {found}"
        )
    return seen, scores


def _first_order(
    layer: nn.Module, x: Tensor, gradient: Tensor, images: int, weights: Tensor, biases: Tensor
) -> Tensor:
    """Return <g, e> of one call of a layer, for each image and option, shape (images, options)."""
    parts = []
    step = max(1, _GRADIENT_NUMBERS // weights.shape[1])
    for some, g in zip(torch.split(x, step), torch.split(gradient, step), strict=True):
        if isinstance(layer, nn.Conv2d):
            z = F.unfold(padded(layer, some), layer.kernel_size, layer.dilation, 0, layer.stride)
            g = g.flatten(2)  # (n, O, P)
        else:
            z = some.reshape(len(some), -1, some.shape[-1]).transpose(1, 2)  # (n, C, P)
            g = g.reshape(len(g), -1, g.shape[-1]).transpose(1, 2)
        per_image = torch.bmm(g, z.transpose(1, 2)).flatten(1)  # (n, O C Kh Kw)
        parts.append(per_image @ weights.T + g.sum(2) @ biases.T)
    found = torch.cat(parts)
    # Of each image there may be several windows, one after the other.
    several = len(found) > images and len(found) % images == 0
    return found.view(images, -1, found.shape[1]).sum(1) if several else found
