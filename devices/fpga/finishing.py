"""The last steps of reading a network, when all of its layers are known.

What nothing needs is left out, scales and shifts go into the layer before, and a split comes behind
what several layers take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from brpnas.devices.fpga.network import INPUT, Node, Shape
from brpnas.devices.fpga.windows import Window, shape_sizes, slide

__all__ = ["AFFINE", "folded", "needed", "unused", "with_splits"]

AFFINE = "affine"
"""Kind of a batch-norm, scale or shift by channel, until it is folded."""


def unused(name: str, used: Container[str]) -> str:
    """Return a name, with a number behind it where it is used already."""
    if name not in used:
        return name
    number = 2
    while f"{name}_{number}" in used:
        number += 1
    return f"{name}_{number}"


def needed(nodes: Mapping[str, Node], outputs: Iterable[str]) -> list[Node]:
    """Return the nodes that lead to the outputs, in their order."""
    wanted = set(outputs)
    for node in reversed(list(nodes.values())):
        if node.name in wanted:
            wanted.update(node.inputs)
    return [node for node in nodes.values() if node.name in wanted]


def folded(nodes: Sequence[Node], outputs: Iterable[str]) -> dict[str, Node]:
    """Put scales and shifts into the layer before, or make layers of them."""
    uses = Counter(name for node in nodes for name in node.inputs)
    uses.update(outputs)
    made: dict[str, Node] = {}
    into: dict[str, str] = {}
    for node in nodes:
        inputs = tuple(into.get(name, name) for name in node.inputs)
        if node.kind != AFFINE:
            made[node.name] = replace(node, inputs=inputs)
            continue
        shift = node.sizes["shift"]
        before = made.get(inputs[0])
        if before and uses[node.inputs[0]] == 1 and "has_bias" in before.sizes:
            has_bias = max(shift, before.sizes["has_bias"])
            made[before.name] = replace(before, sizes={**before.sizes, "has_bias": has_bias})
            into[node.name] = before.name
        else:
            sizes, _ = slide(node.output, Window((1, 1)))
            sizes |= dict.fromkeys(("filters", "groups"), node.output[2])
            sizes["has_bias"] = shift
            made[node.name] = Node(node.name, "convolution", sizes, inputs, node.output)
    return made


def with_splits(nodes: Mapping[str, Node], shape: Shape) -> Iterator[Node]:
    """Put a split behind what is taken more than once."""
    uses = Counter(name for node in nodes.values() for name in node.inputs)
    used = set(nodes)
    instead: dict[str, str] = {}

    def split(source: str, shape: Shape) -> Iterator[Node]:
        if uses[source] > 1:
            instead[source] = unused(f"{source or 'input'}_split", used)
            used.add(instead[source])
            sizes = {**shape_sizes(shape), "ports_out": uses[source]}
            yield Node(instead[source], "split", sizes, (source,), shape)

    yield from split(INPUT, shape)
    for node in nodes.values():
        yield replace(node, inputs=tuple(instead.get(name, name) for name in node.inputs))
        yield from split(node.name, node.output)
