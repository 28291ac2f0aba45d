"""Which layer's output goes into which: the network as a graph of its layers with weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from brpnas.evaluating import evaluating
from brpnas.lowrank.layers import Layers

__all__ = ["IMAGE", "JOIN", "SCORES", "Flow", "find_flow"]

IMAGE, SCORES = "<image>", "<scores>"
"""The nodes of the network's input and output."""
JOIN = "<join>"
"""What the names of nodes start with where data of several layers meets."""


@dataclass(frozen=True)
class Flow:
    """The graph of a network's layers, what lies between them left out.

    Attributes:
        nodes: `IMAGE`, then in the order of the first calls the layers, by their names, and the
            joins (sums, concatenations, products of what several made), by `JOIN` and a number,
            then `SCORES`.
        edges: (source, target), places in ``nodes``, each source before its target: data goes from
            one to the other through operations without weights.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]


def find_flow(model: nn.Module, layers: Layers, example: Tensor) -> Flow:
    """Run a network once and follow its tensors.

    Args:
        model: left as it was.
        layers: of it (`find_layers`); those that cannot be replaced are nodes too, if they are
            called.
        example: an input that the network runs on, with its batch dimension.
    """
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    tracker = _Tracker()
    with evaluating(model), torch.no_grad(), contextlib.ExitStack() as stack:
        for name in _nodes(layers):
            before, after = tracker.hooks(name)
            stack.callback(modules[name].register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(modules[name].register_forward_hook(after).remove)
        example = example.clone()  # views of it must not be confused with those of others
        tracker.mark(example, IMAGE)
        stack.enter_context(tracker)
        scores = model(example)
    tracker.read(scores, SCORES)
    nodes = (IMAGE, *tracker.order, SCORES)
    place = {name: i for i, name in enumerate(nodes)}
    edges = {(place[source], place[target]) for source, target in tracker.edges}
    # A layer that is called again may read what came after it; the graph has no cycles.
    return Flow(nodes, tuple(sorted((a, b) for a, b in edges if a < b)))


def _nodes(layers: Layers) -> list[str]:
    """Return the layers that are nodes: of those inside one another, the ones to choose for."""
    left = [
        name
        for name in layers.left
        if not any(other.startswith(f"{name}." if name else "") for other in layers.shapes)
    ]
    inside = {name for name in left if any(name.startswith(f"{other}.") for other in left)}
    return [*layers.shapes, *(name for name in left if name not in inside)]


class _Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes for each tensor which node it was last made by."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.order: list[str] = []
        self.edges: set[tuple[str, str]] = set()
        # The tensor is kept too, so that no other one gets its identity.
        self._makers: dict[int, tuple[Tensor, str]] = {}
        self._inside = 0

    def mark(self, tensor: Tensor, maker: str) -> None:
        self._makers[id(tensor)] = (tensor, maker)

    def read(self, values: Any, reader: str) -> None:  # noqa: ANN401 - whatever a module takes
        self.edges |= {(maker, reader) for maker in self._made_by(values)}

    def hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def before(_: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401 - torch's signature
            if name not in self.order:
                self.order.append(name)
            self.read((args, kwargs), name)
            self._inside += 1

        def after(_module: nn.Module, _args: Any, output: Any) -> None:  # noqa: ANN401 - torch's signature
            self._inside -= 1
            for tensor in _tensors(output):
                self.mark(tensor, name)

        return before, after

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
        made = func(*args, **(kwargs or {}))
        makers = self._made_by((args, kwargs))
        if self._inside or not makers:
            return made
        maker = makers[0]
        if len(makers) > 1:
            maker = f"{JOIN}{len(self.order)}"
            self.order.append(maker)
            self.read((args, kwargs), maker)
        for tensor in _tensors(made):
            self.mark(tensor, maker)
        return made

    def _made_by(self, values: Any) -> list[str]:  # noqa: ANN401 - see `read`
        makers = (self._makers[id(x)][1] for x in _tensors(values) if id(x) in self._makers)
        return list(dict.fromkeys(makers))


def _tensors(values: Any) -> list[Tensor]:  # noqa: ANN401 - see `read`
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
