"""A network as a list of calls, in which those of its layers are marked.

torch.export writes down, for one size of batches, what functions the network calls; the module that
each call comes from names the layer. A batch norm that alone reads a layer's outputs becomes part
of the layer: a scale and a shift of each channel.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from brpnas.lowrank.layers import Layers
from brpnas.lowrank.modules import LayerWeights, PairWeights
from brpnas.quiet import quiet

__all__ = ["Norm", "Plan", "Step", "Values", "flatten", "scaled", "scaled_layer"]

_ATEN = torch.ops.aten
_CALLS = (_ATEN.conv2d.default, _ATEN.conv2d.padding, _ATEN.linear.default)
Values = dict[fx.Node, Any]
"""What calls returned."""


@dataclass(frozen=True, eq=False)
class Norm:
    """What a batch norm multiplies each channel by, and adds: float64, shape (channels,)."""

    name: str
    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, eq=False)
class Step:
    """A call of a function, or of a layer with the batch norm after it.

    Attributes:
        node: the function and its arguments.
        inputs: values that it needs; of a layer, one.
        output: the value that it makes.
        layer: its name, if it is one.
        norm: that is part of it.
        last: values that no later step needs.
    """

    node: fx.Node
    inputs: list[fx.Node]
    output: fx.Node
    layer: str | None = None
    norm: Norm | None = None
    last: tuple[fx.Node, ...] = ()

    @property
    def call(self) -> Callable[..., Any]:
        """The function."""
        return cast(Callable[..., Any], self.node.target)


@dataclass(frozen=True, eq=False)
class Plan:
    """A network for batches of one size.

    Attributes:
        steps: in the order in which they run.
        images: the value that the batch is.
        constants: values that are there from the beginning.
        result: the value that the network returns.
    """

    steps: list[Step]
    images: fx.Node
    constants: Values
    result: fx.Node


def flatten(model: nn.Module, layers: Layers, batch: Tensor) -> Plan:
    """Write down what a network calls, in evaluation mode, for batches of this size.

    Raises:
        Exception: of any kind, where torch.export or the network's code cannot.
    """
    with quiet():  # torch prints whole graphs of networks that it cannot write down
        traced = torch.export.export(model, (batch,)).module(check_guards=False)
    graph: fx.Graph = traced.graph
    (images,) = graph.find_nodes(op="placeholder")
    (output,) = graph.find_nodes(op="output")
    (result,) = output.all_input_nodes
    constants = {
        node: operator.attrgetter(str(node.target))(traced)
        for node in graph.find_nodes(op="get_attr")
    }
    steps: list[Step] = []
    folded: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function" or node in folded:
            continue
        node.target = _lasting(node.target)
        name = _module_name(node)
        if node.target not in _CALLS or name not in layers.shapes:
            steps.append(Step(node, node.all_input_nodes, node))
            continue
        source = node.all_input_nodes[0]
        while _module_name(source) == name and source.target not in _CALLS:
            source = source.all_input_nodes[0]  # the layer's padding
        norm = _norm_after(node, constants)
        last = next(iter(node.users)) if norm else node
        folded.add(last)
        steps.append(Step(node, [source], last, name, norm))
    lacking = layers.shapes.keys() - {step.layer for step in steps}
    if lacking:
        raise ValueError(f"calls of {', '.join(sorted(lacking))} are not to be seen")
    return Plan(_alive(steps, result, constants), images, constants, result)


def _lasting(function: Any) -> Any:  # noqa: ANN401 - torch's operators
    """Return a function that leaves its arguments as they are, for versions that share them."""
    if function is _ATEN.view.default:
        return _ATEN.reshape.default  # pairs may lay out what they return otherwise
    if isinstance(function, torch._ops.OpOverload) and function._schema.is_mutable:
        name, _, overload = function.__name__.partition(".")
        return getattr(getattr(_ATEN, name.removesuffix("_")), overload)
    return function


def _alive(steps: Sequence[Step], result: fx.Node, constants: Values) -> list[Step]:
    """Return the steps that the result needs, with the values that each is the last to need."""
    needed = {result}
    kept = []
    for step in reversed(steps):
        if step.output in needed:
            last = {node for node in step.inputs if node not in needed | constants.keys()}
            needed |= last
            kept.append(changed(step, last=tuple(last)))
    return kept[::-1]


def _module_name(node: fx.Node) -> str | None:
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else None


def _norm_after(node: fx.Node, constants: Values) -> Norm | None:
    """Return the batch norm that alone reads what a layer returns, if there is one."""
    if len(node.users) != 1:
        return None
    (norm,) = node.users
    if norm.target != _ATEN.batch_norm.default or norm.args[0] is not node:
        return None
    if node.target == _ATEN.linear.default and node.meta["val"].ndim != 2:
        return None  # its features are not what is normalised
    parts = [part for part in norm.args[1:5] if isinstance(part, fx.Node)]
    if norm.args[5] or len(parts) < 4:
        return None  # it takes the statistics of the batch, or has no weights
    weight, bias, mean, variance = (constants[part].detach().double() for part in parts)
    scale = weight / (variance + cast(float, norm.args[7])).sqrt()
    return Norm(norm.name, scale, bias - mean * scale)


def scaled(weights: LayerWeights, norm: Norm) -> LayerWeights:
    """Return a pair's weights with those of the batch norm after it."""
    pairs = []
    for pair in weights.pairs:
        scales = torch.split(norm.scale, [len(second) for second in pair.second])
        parts = zip(pair.second, scales, strict=True)
        second = tuple(part * scale.view(-1, 1, 1, 1) for part, scale in parts)
        pairs.append(PairWeights(pair.pair, pair.first, second))
    bias = norm.shift if weights.bias is None else weights.bias * norm.scale + norm.shift
    return LayerWeights(tuple(pairs), bias)


def scaled_layer(layer: nn.Module, norm: Norm) -> nn.Module:
    """Return a copy of a layer with the batch norm after it."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)  # noqa: S101 - for the type checker
    made, weight = copy.deepcopy(layer), layer.weight.detach()
    scale = norm.scale.view(-1, *[1] * (weight.ndim - 1))
    bias = 0 if layer.bias is None else layer.bias.detach() * norm.scale
    made.weight = nn.Parameter((weight * scale).to(weight.dtype))
    made.bias = nn.Parameter((bias + norm.shift).to(weight.dtype))
    return made
