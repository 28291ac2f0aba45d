"""Run a torch module once on a stand-in for its input, and note what is done to it.

The stand-in is a tensor whose every use torch reports before it happens, so the module's own
``forward`` says what it computes, and everything that does not depend on the input is computed by
torch right away. Nothing is computed on the stand-in: a function that is not known is an error.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from brpnas.devices.tflite.functions import FUNCTIONS, HARMLESS
from brpnas.devices.tflite.graph import Graph, Node, UnsupportedError
from brpnas.errors import UserError, one_line
from brpnas.evaluating import evaluating

__all__ = ["trace"]

_STAND_IN = torch.zeros(())


class _Traced(Tensor):
    """Stands for a value that depends on the input; its numbers mean nothing."""

    graph: Graph
    node: Node
    shared: bool
    """Whether another tensor may show the same memory, so that writing into it would show there."""

    @classmethod
    def make(cls, graph: Graph, node: Node) -> _Traced:
        shape = node.shape
        if len(shape) == 4:
            shape = (shape[0], shape[3], shape[1], shape[2])
        traced = _STAND_IN.expand(shape).as_subclass(cls)
        traced.graph, traced.node, traced.shared = graph, node, False
        return traced

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - torch's signature
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's signature
        known = FUNCTIONS.get(func)
        if known is None:
            if func in HARMLESS:
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **(kwargs or {}))
            raise UnsupportedError(f"function {getattr(func, '__name__', func)}")
        handler, in_place = known
        keywords = dict(kwargs or {})
        in_place = keywords.pop("inplace", False) or in_place
        seen: list[_Traced] = []
        values = [_nodes(value, seen) for value in args]
        named = {name: _nodes(value, seen) for name, value in keywords.items()}
        result = handler(seen[0].graph, *values, **named)
        if not isinstance(result, Node):
            return result
        first = args[0]
        if in_place:
            if not isinstance(first, _Traced) or first.shared:
                raise UnsupportedError(f"function {func.__name__} that writes into a shared tensor")
            first.node = result
            return first
        traced = cls.make(seen[0].graph, result)
        if handler.__name__ in _VIEWS:
            traced.shared = True
            for one in seen:
                one.shared = True
        return traced


_VIEWS = {"flatten", "view", "squeeze", "unsqueeze", "narrow", "getitem", "identity", "dropout"}
"""Handlers of functions whose result may show the memory of their argument."""


def _nodes(value: Any, seen: list[_Traced]) -> Any:  # noqa: ANN401 - any argument of any function
    if isinstance(value, _Traced):
        seen.append(value)
        return value.node
    if isinstance(value, list | tuple) and any(isinstance(item, _Traced) for item in value):
        return [_nodes(item, seen) for item in value]
    return value


def trace(module: nn.Module, example_input: Tensor, name: str) -> tuple[Graph, Node]:
    """Draw the graph of a module in evaluation mode; the module is left as it was.

    Args:
        module: any module that maps one tensor to one tensor.
        example_input: gives the shape; its values do not matter.
        name: what errors call the module.

    Returns:
        The graph, and the node of its output; both input and output are in torch's order of axes.

    Raises:
        UnsupportedError: names the layer that cannot be written.
        UserError: the output does not depend on the input.
    """
    if example_input.dtype != torch.float32:
        raise UnsupportedError(f"model '{name}': input of type {example_input.dtype}, not float32")
    graph = Graph(example_input.shape)
    stand_in = _Traced.make(graph, graph.from_torch(graph.input))
    with evaluating(module), torch.no_grad():
        try:
            output = module(stand_in)
        except Exception as error:
            where = _layer(module, error.__traceback__)
            raise UnsupportedError(f"model '{name}': {where}: {one_line(error)}") from error
    if isinstance(output, _Traced):
        return graph, graph.to_torch(output.node)
    if isinstance(output, Tensor):
        raise UserError(f"model '{name}': its output does not depend on its input")
    raise UnsupportedError(f"model '{name}' returns a {type(output).__name__}, not one tensor")


def _layer(module: nn.Module, origin: TracebackType | None) -> str:
    """Name the innermost layer that was running when an error was raised."""
    names = {id(part): path for path, part in module.named_modules()}
    found = "(the model)"
    for frame, _ in traceback.walk_tb(origin):
        running = frame.f_locals.get("self")
        if isinstance(running, nn.Module) and names.get(id(running)):
            found = f"layer '{names[id(running)]}', a {type(running).__name__}"
    return found
