"""Exported torch programs as modules again, with layers that can be replaced by name.

An exported program calls functions on weights and is made for one batch size. Here each call of a
convolution, linear layer or batch-norm becomes a module of torch's own, under the name that its
weights have, and sizes that say the batch become those of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from brpnas.errors import UserError, one_line

__all__ = ["as_module"]

_ATEN = torch.ops.aten
_VIEWS = (_ATEN.view.default, _ATEN.reshape.default)
_SIZED = (*_VIEWS, _ATEN.expand.default)
"""Functions whose second argument lists sizes."""


def as_module(program: ExportedProgram, name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the program as a module for any batch size, and the shape of one image.

    The module is tried on twice as many images as the program takes: the scores have to agree.

    Args:
        program: takes a batch of images, returns scores.
        name: of the model, for errors.

    Raises:
        UserError: several inputs or outputs, or a program that works with one batch size only.
    """
    traced = program.module()
    graph: fx.Graph = traced.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    (output,) = graph.find_nodes(op="output")
    results = _flat(output.args)
    if len(inputs) != 1 or len(results) != 1:
        raise UserError(
            f"{name}: {len(inputs)} inputs and {len(results)} outputs; accepted: one batch of "
            "images, one of scores"
        )
    shape = tuple(inputs[0].meta["val"].shape)
    output.args = (results[0],)
    graph.set_codegen(fx.graph.CodeGen())
    for node in graph.find_nodes(op="call_module", target="_guards_fn"):
        graph.erase_node(node)  # it insists on the batch size
    _free_batch(graph, inputs[0], shape[0])
    for node in list(graph.nodes):
        make = _LAYERS.get(node.target) if node.op == "call_function" else None
        if make is not None:
            _to_layer(traced, graph, node, make)
    graph.eliminate_dead_code()
    graph.lint()
    module = fx.GraphModule(traced, graph).eval()
    _check_batches(module, program, shape, name)
    return module, shape[1:]


def _flat(arguments: Any) -> list[fx.Node]:  # noqa: ANN401 - tuples of tuples of nodes
    if isinstance(arguments, fx.Node):
        return [arguments]
    if isinstance(arguments, tuple | list):
        return [node for one in arguments for node in _flat(one)]
    return []


def _free_batch(graph: fx.Graph, images: fx.Node, batch: int) -> None:
    """Replace the batch size, where it leads a list of sizes, by that of the input."""
    with graph.inserting_after(images):
        count = graph.call_function(_ATEN.sym_size.int, (images, 0))
    varying = {images}  # a weight that is viewed is no batch; one that is expanded becomes one
    for node in graph.nodes:
        if not varying.isdisjoint(node.all_input_nodes):
            varying.add(node)
        if node.target in _SIZED and (node in varying or node.target not in _VIEWS):
            x, sizes, *others = node.args
            if sizes and sizes[0] == batch:
                node.args = (x, [count, *sizes[1:]], *others)


def _to_layer(
    traced: nn.Module, graph: fx.Graph, node: fx.Node, make: Callable[..., nn.Module | None]
) -> None:
    """Replace one call on weights by a call of a layer that holds them."""
    x, *arguments = node.args
    tensors = [one for one in arguments if isinstance(one, fx.Node)]
    if not isinstance(x, fx.Node) or node.kwargs or not tensors:
        return
    if any(one.op != "get_attr" for one in tensors):
        return  # weights that are computed
    path, _, last = str(tensors[0].target).rpartition(".")
    used = {str(one.target) for one in tensors}
    holder = traced.get_submodule(path)
    # Of weights that several layers share, or that have a place of their own, none can be changed.
    single = all(len(_calls(graph, one)) == 1 for one in used)
    whole = {f"{path}.{key}" for key, _ in (*holder.named_parameters(), *holder.named_buffers())}
    if not path or last != "weight" or not single or not used <= whole:
        return
    values = [_value(traced, one) if isinstance(one, fx.Node) else one for one in arguments]
    layer = make(*values)
    if layer is None:
        return
    above, _, leaf = path.rpartition(".")
    setattr(traced.get_submodule(above), leaf, layer)
    with graph.inserting_before(node):
        call = graph.call_module(path, (x,))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    graph.erase_node(node)
    for one in tensors:
        if not one.users:
            graph.erase_node(one)


def _calls(graph: fx.Graph, target: str) -> list[fx.Node]:
    return [user for one in graph.find_nodes(op="get_attr", target=target) for user in one.users]


def _value(traced: nn.Module, node: fx.Node) -> Tensor:
    path, _, leaf = str(node.target).rpartition(".")
    value: Tensor = getattr(traced.get_submodule(path), leaf)
    return value


def _conv2d(
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,  # noqa: ANN401 - a list of one or two numbers
    padding: Any = 0,  # noqa: ANN401
    dilation: Any = 1,  # noqa: ANN401
    groups: int = 1,
) -> nn.Module:
    rows, cols = weight.shape[2:]
    layer = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (rows, cols),
        _pair(stride),
        _pair(padding),
        _pair(dilation),
        groups,
        bias is not None,
    )
    return _with(layer, weight=weight, bias=bias)


def _pair(sizes: Any) -> Any:  # noqa: ANN401 - a list, a number or a padding's name
    return tuple(sizes) * (2 // len(sizes)) if isinstance(sizes, list | tuple) else sizes


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    return _with(layer, weight=weight, bias=bias)


def _batch_norm(
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    _: bool,
) -> nn.Module | None:
    if training or weight is None or bias is None or mean is None or variance is None:
        return None
    layer = nn.BatchNorm2d(len(weight), eps, momentum)
    return _with(layer, weight=weight, bias=bias, running_mean=mean, running_var=variance)


def _with(layer: nn.Module, **values: Tensor | None) -> nn.Module:
    for key, value in values.items():
        if value is not None:
            own = value.detach().clone()
            setattr(layer, key, nn.Parameter(own) if key in ("weight", "bias") else own)
    return layer


_LAYERS: dict[Any, Callable[..., nn.Module | None]] = {
    _ATEN.conv2d.default: _conv2d,
    _ATEN.conv2d.padding: _conv2d,
    _ATEN.linear.default: _linear,
    _ATEN.batch_norm.default: _batch_norm,
}


def _check_batches(
    module: nn.Module, program: ExportedProgram, shape: tuple[int, ...], name: str
) -> None:
    """Compare the module, on several images at once, with the program on as many as it takes."""
    images = torch.rand(3 * shape[0], *shape[1:], generator=torch.Generator().manual_seed(0))
    whole = program.module()
    try:
        with torch.no_grad():
            expected = torch.cat([whole(part) for part in torch.split(images, shape[0])])
            scores = torch.cat([module(part) for part in torch.split(images, 2 * shape[0])])
    except Exception as error:
        raise UserError(
            f"{name}: works with a batch of {shape[0]} only ({one_line(error)}); export it with "
            "an example of several images, or give package.module:function"
        ) from error
    if not torch.allclose(scores, expected, rtol=1e-3, atol=1e-4):
        raise UserError(
            f"{name}: gives other scores with another batch size than {shape[0]}; give "
            "package.module:function"
        )
