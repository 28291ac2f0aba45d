"""Find the layers of a network that low-rank pairs may take the place of, and say why not others.

The network is run once on an example, so that the sizes are those at which it works, and a layer
that is never called as a module (its weights are read by another) is not taken for one that is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from brpnas.errors import UserError, one_line
from brpnas.evaluating import evaluating
from brpnas.lowrank.shapes import LayerShape, Positions

__all__ = ["Layers", "find_layers", "layer_input"]


@dataclass(frozen=True)
class Layers:
    """The layers with weights of a network.

    Attributes:
        shapes: those that a pair may replace, in the network's order; a module that the network
            holds at several places is here once, by its first name.
        left: why others cannot be replaced, by their name.
    """

    shapes: Mapping[str, LayerShape]
    left: Mapping[str, str]


def find_layers(model: nn.Module, example: Tensor) -> Layers:
    """Run a network once, in evaluation mode, and sort its layers.

    Args:
        model: left as it was.
        example: an input, with its batch dimension; costs are those of all its images.

    Raises:
        UserError: the network does not run on the example, or a layer that could be replaced
            has weights that are not numbers.
    """
    modules = dict(model.named_modules())
    owners = _owners(modules)
    left: dict[str, str] = {}
    calls: dict[str, list[LayerShape]] = {}
    for name, module in modules.items():
        if _has_weights(module):
            reason = _reason(module) or _tied(name, module, owners)
            if reason:
                left[name] = reason
            else:
                calls[name] = []
    failed: dict[str, str] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:  # noqa: ANN401 - torch's signature
            x = layer_input(args, kwargs)
            if x.ndim != 4 and isinstance(module, nn.Conv2d):
                failed[name] = "called without a batch dimension"
            elif type(module) not in _KINDS and not _as_usual(module, x, output):
                failed[name] = f"a {type(module).__name__}, which computes something else"
            else:
                calls[name].append(_shape(module, x, output))

        return hook

    with evaluating(model), torch.no_grad(), contextlib.ExitStack() as hooks:
        for name in calls:
            handle = modules[name].register_forward_hook(note(name), with_kwargs=True)
            hooks.callback(handle.remove)
        try:
            model(example)
        except Exception as error:
            size = " x ".join(map(str, example.shape))
            raise UserError(
                f"the network does not run on an input of {size}: {one_line(error)}"
            ) from error
    shapes = {}
    for name, seen in calls.items():
        if name in failed or not seen:
            left[name] = failed.get(name, "never called: another module may read its weights")
            continue
        _check_numbers(name, modules[name])
        positions = seen[0].positions
        for more in seen[1:]:
            positions += more.positions
        shapes[name] = replace(seen[0], positions=positions)
    return Layers(shapes, left)


def layer_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return what a convolution or linear layer was called with."""
    return cast(Tensor, args[0] if args else kwargs["input"])


_KINDS = (nn.Conv2d, nn.Linear)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _has_weights(module: nn.Module) -> bool:
    """Whether a module multiplies by weights of its own; those of a parametrisation are none."""
    if isinstance(module, nn.utils.parametrize.ParametrizationList):
        return False
    held = any(weight.ndim > 1 for weight in module.parameters(recurse=False))
    return held or isinstance(module, _KINDS)


def _reason(module: nn.Module) -> str:
    """Return why a module cannot be replaced, as far as it shows without running it."""
    kind = type(module).__name__
    if not isinstance(module, _KINDS):
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        return f"a {kind}: " + ("transposed" if transposed else "neither Conv2d nor Linear")
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is parametrised"
    if isinstance(weight, nn.parameter.UninitializedParameter):
        return "its weight is not initialised"
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}"
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return f"a grouped convolution ({module.groups} groups)"
    if any(getattr(module, hooks) for hooks in _HOOKS):
        return "it has hooks, which would be lost"
    return ""


def _owners(modules: Mapping[str, nn.Module]) -> dict[int, list[str]]:
    """Return the names of the modules that hold each parameter."""
    owners: dict[int, list[str]] = {}
    for name, module in modules.items():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    return owners


def _tied(name: str, module: nn.Module, owners: Mapping[int, list[str]]) -> str:
    for parameter in module.parameters(recurse=False):
        others = [other for other in owners[id(parameter)] if other != name]
        if others:
            return f"it shares its weights with {', '.join(others)}"
    return ""


def _as_usual(module: nn.Module, x: Tensor, output: Tensor) -> bool:
    """Whether a subclass computed what its base does."""
    base = next(kind for kind in _KINDS if isinstance(module, kind))
    try:
        usual = base.forward(module, x)  # type: ignore[arg-type]
    except RuntimeError:
        return False
    return usual.shape == output.shape and torch.equal(usual, output)


def _shape(module: nn.Module, x: Tensor, output: Tensor) -> LayerShape:
    sizes = (tuple(x.shape), tuple(output.shape))
    if isinstance(module, nn.Conv2d):
        channels = (module.out_channels, module.in_channels)
        batch, height, width = x.shape[0], x.shape[2], x.shape[3]
        rows, columns = output.shape[2:]
        positions = Positions(
            batch * height * width, batch * height * columns, batch * rows * columns
        )
        kernel = (module.kernel_size[0], module.kernel_size[1])
        return LayerShape(*channels, kernel, False, module.bias is not None, positions, *sizes)
    assert isinstance(module, nn.Linear)  # noqa: S101 - for the type checker
    vectors = x.numel() // module.in_features
    positions = Positions(vectors, vectors, vectors)
    channels = (module.out_features, module.in_features)
    return LayerShape(*channels, (1, 1), True, module.bias is not None, positions, *sizes)


def _check_numbers(name: str, module: nn.Module) -> None:
    for kind, values in module.named_parameters(recurse=False):
        if not bool(torch.isfinite(values).all()):
            raise UserError(f"layer '{name}': its {kind} holds values that are not finite numbers")
