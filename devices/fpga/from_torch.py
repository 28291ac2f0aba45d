"""Reads networks from torch modules: runs one once on a stand-in for its input.

The stand-in is a tensor of torch's device "meta", which has a shape but no numbers, and whose
every use torch reports before it happens: the module's own ``forward`` says which layers there
are. That takes milliseconds, where ``torch.export`` takes seconds. What does not depend on the
input is computed by torch right away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from brpnas.devices.fpga.builder import Builder, Value
from brpnas.devices.fpga.network import Network
from brpnas.devices.fpga.torch_functions import (
    FUNCTIONS,
    SAME,
    SPELLINGS,
    VIEWS,
    Call,
)
from brpnas.devices.tflite.functions import HARMLESS
from brpnas.errors import UserError, one_line
from brpnas.evaluating import evaluating

__all__ = ["network_of"]

_Layer = tuple[str, nn.Module]
"""Its path in the model, and itself."""


def network_of(model: nn.Module, example: Tensor, name: str = "model") -> Network:
    """Read a network from a torch module in evaluation mode; the module is left as it was.

    Args:
        model: any module that maps a tensor to a tensor, or to several.
        example: gives the input's shape, (batch, channels, rows, cols) or (batch, channels); its
            numbers do not matter, and a batch is read as one image.
        name: what the network and errors are called by.

    Raises:
        UserError: the module uses a function for which FPGAs have no layer, or fails; names the
            layer.
    """
    running: list[_Layer] = [("", model)]
    try:
        if example.dim() not in (2, 4):
            raise UserError(
                f"an example input of {example.dim()} dimensions; accepted: 4 (batch, channels, "
                "rows, cols) or 2 (batch, channels)"
            )
        rows, cols = example.shape[2:] or (1, 1)
        trace = _Trace(Builder(name, (rows, cols, example.shape[1])), running)
        stand_in = _Traced.make(trace, trace.builder.input, example.shape)
        with evaluating(model), torch.no_grad(), _following(model, running):
            result = model(stand_in)
        outputs = result if isinstance(result, tuple | list) else (result,)
        if not all(isinstance(one, _Traced) for one in outputs):
            raise UserError("an output does not depend on the input, or is no tensor")
        return trace.builder.finish([one.read() for one in outputs])
    except Exception as error:
        path, layer = running[-1]
        place = f"layer '{path}', of type {type(layer).__name__}: " if path else ""
        raise UserError(one_line(f"model '{name}': {place}{one_line(error, 900)}", 1000)) from error


@contextlib.contextmanager
def _following(model: nn.Module, running: list[_Layer]) -> Iterator[None]:
    """List the layers that are running, the innermost last; after an error they are still there."""
    hooks = []
    for layer in model.named_modules():
        if layer[0]:
            hooks.append(layer[1].register_forward_pre_hook(_entering(running, layer)))
            hooks.append(layer[1].register_forward_hook(_leaving(running)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _entering(running: list[_Layer], layer: _Layer) -> Callable[..., None]:
    def enter(*_: object) -> None:
        running.append(layer)

    return enter


def _leaving(running: list[_Layer]) -> Callable[..., None]:
    def leave(*_: object) -> None:
        running.pop()

    return leave


@dataclass(frozen=True)
class _Trace:
    """The network so far, and the layers that are running."""

    builder: Builder
    running: list[_Layer]

    def name(self, function: str) -> str:
        """Return the innermost layer's path, with the function where the layer has parts."""
        path, layer = self.running[-1]
        if path and next(layer.children(), None) is None:
            return path
        return f"{path}.{function}" if path else function


class _Traced(Tensor):
    """Stands for a value that depends on the input."""

    tracing: _Trace
    value: Value | None
    sharing: list[_Traced]
    """All that show the same memory."""

    @classmethod
    def make(cls, trace: _Trace, value: Value, shape: Sequence[int]) -> _Traced:
        traced = torch.empty(tuple(shape), device="meta").as_subclass(cls)
        traced.tracing, traced.value, traced.sharing = trace, value, [traced]
        return traced

    def read(self) -> Value:
        if self.value is None:
            raise UserError("a tensor is used after another view of it was written into")
        return self.value

    def write(self, value: Value) -> _Traced:
        """Change it in place."""
        for other in self.sharing:
            other.value = None
        self.value = value
        return self

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - torch's signature
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's signature
        named = dict(kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            if func in HARMLESS:
                return func(*args, **named)
            if func not in SPELLINGS:
                raise UserError(
                    f"function {getattr(func, '__name__', func)}: an FPGA has no layer for it; "
                    f"accepted: {', '.join(FUNCTIONS)}"
                )
            name, in_place = SPELLINGS[func]
            in_place = named.pop("inplace", False) or in_place
            seen: list[_Traced] = []
            values = [_values(one, seen) for one in args]
            keywords = {key: _values(one, seen) for key, one in named.items()}
            first = seen[0]
            shape = func(*args, **named).shape if name in VIEWS else first.shape
            call = Call(first.tracing.builder, first.tracing.name(name), first.dim(), tuple(shape))
            value = FUNCTIONS[name](call, *values, **keywords)
            if name in SAME:
                return first
            if in_place:
                if args[0] is not first:
                    raise UserError(f"function {func.__name__} that writes into a constant")
                return first.write(value)
            if name not in VIEWS:
                rows, cols, channels = value.shape
                image = call.dimensions == 4 and not call.drops
                sizes = (channels, rows, cols) if image else (rows * cols * channels,)
                shape = first.shape[:1] + sizes
            traced = cls.make(first.tracing, value, shape)
            if name in VIEWS:
                traced.sharing = first.sharing
                traced.sharing.append(traced)
            return traced


def _values(argument: Any, seen: list[_Traced]) -> Any:  # noqa: ANN401 - of any function
    if isinstance(argument, _Traced):
        seen.append(argument)
        return argument.read()
    if isinstance(argument, list | tuple):
        return [_values(one, seen) for one in argument]
    return argument
