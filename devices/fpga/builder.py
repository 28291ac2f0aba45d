"""Builds a network layer by layer: what the readers of files and of torch modules have in common.

A reader says "a convolution with these numbers on that value"; the builder computes shapes, says
what an FPGA has no layer for, leaves out what nothing needs, folds scales and shifts into the
layer before, and splits what several layers take.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from brpnas.devices.fpga.finishing import AFFINE, folded, needed, unused, with_splits
from brpnas.devices.fpga.network import INPUT, Network, Node, Shape
from brpnas.devices.fpga.windows import Pair, Window, shape_sizes, slide
from brpnas.errors import UserError, one_line

__all__ = ["Builder", "Value"]

_LARGEST = 2**20  # as evaluate_layers accepts


@dataclass(frozen=True)
class Value:
    """A feature map that some layer makes.

    Attributes:
        source: name of the layer, ``INPUT``, or None for zeros.
        shape: padded, if it was; before it was flattened, if it was.
        after: what was done to it that not every layer can follow: ``"flatten"``, ``"padding"``
            or ``"softmax"``; else empty.
        pads: of a padding: top, left, bottom, right.
    """

    source: str | None
    shape: Shape
    after: str = ""
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


class Builder:
    """A network while it is read.

    Each method adds a layer to a value and returns the value that it makes. Layers that see
    nothing but zeros are left out, as if their bias were zero too; of several that do the same to
    the same, such as two ReLUs, there is one.

    Args:
        name: of the network.
        shape: of one image.

    Raises:
        UserError: what has to change in the network; the readers put before it in which layer.
    """

    def __init__(self, name: str, shape: Shape) -> None:
        _check_shape("the input", shape)
        self.name = name
        self.input = Value(INPUT, shape)
        self._nodes: dict[str, Node] = {}
        self._done: dict[Hashable, Value] = {}  # what has no weights, and is the same again
        self._subsampled: dict[Value, tuple[Value, Pair]] = {}  # of what, and its strides

    # Convolutions and matrices

    def convolution(
        self,
        name: str,
        x: Value,
        weights: Sequence[int],
        window: Window,
        *,
        groups: int,
        bias: bool,
    ) -> Value:
        """Add a convolution: plain, grouped or depthwise.

        Args:
            name: of the layer.
            x: what is convolved.
            weights: their shape, (filters, channels of a group, rows, cols).
            window: of the weights' size.
            groups: of channels, each with its own filters.
            bias: whether there is one.
        """
        x = _expect(x, "a convolution", "padding")
        if x.after:
            (top, left, bottom, right), (rows, cols, channels) = x.pads, x.shape
            x = replace(x, shape=(rows - top - bottom, cols - left - right, channels))
            window = replace(
                window,
                before=(window.before[0] + top, window.before[1] + left),
                behind=(window.behind[0] + bottom, window.behind[1] + right),
            )
        filters, channels = weights[0], x.shape[2]
        if (
            groups < 1
            or tuple(weights[1:]) != (channels / groups, *window.kernel)
            or filters % groups
        ):
            raise UserError(
                f"weights of shape {tuple(weights)} and {groups} groups on an input of {channels} "
                "channels; accepted: (filters, channels of a group, rows, cols), and groups that "
                "divide both"
            )
        sizes, places = slide(x.shape, window)
        sizes |= {"filters": filters, "groups": groups, "has_bias": int(bias)}
        return self._add(name, "convolution", sizes, [x], (*places, filters))

    def inner_product(self, name: str, x: Value, words: int, filters: int, *, bias: bool) -> Value:
        """Add a fully connected layer whose weights have the shape (words, filters)."""
        x = _expect(x, "an inner product", "flatten")
        if words != math.prod(x.shape):
            raise UserError(f"weights for {words} words on an input of {math.prod(x.shape)}")
        # Its input is a vector, whatever shape came before the flatten: any divisor of the words
        # may enter at a time.
        sizes = {**shape_sizes((1, 1, words)), "filters": filters, "has_bias": int(bias)}
        return self._add(name, "inner_product", sizes, [x], (1, 1, filters))

    def affine(
        self, name: str, x: Value, dims: Sequence[int], dimensions: int, *, shift: bool
    ) -> Value:
        """Add a scale and shift by channel: a batch-norm, or a constant.

        It folds into the convolution or inner product before it, which then has a bias; where
        there is none, it is a depthwise convolution of 1 x 1.

        Args:
            name: of the layer.
            x: what is scaled or shifted.
            dims: shape of the constant.
            dimensions: of the tensor ``x``; the channels are the second.
            shift: whether it is shifted, not scaled alone.
        """
        x = _expect(x, "a scale or shift by channel")
        full = [1] * (dimensions - len(dims)) + list(dims)
        if (
            len(full) != dimensions
            or math.prod(full) not in (1, x.shape[2])
            or (full[1] != math.prod(full))
        ):
            raise UserError(
                f"a constant of shape {tuple(dims)}; accepted: one number for each of the "
                f"{x.shape[2]} channels, or for all"
            )
        return self._add(name, AFFINE, {"shift": int(shift)}, [x], x.shape)

    # Pooling

    def pool(self, name: str, x: Value, window: Window, *, average: bool) -> Value:
        """Add a pool; an average of the whole feature map is a global one."""
        x = _expect(x, "a pool")
        if average and window.kernel == x.shape[:2] and not any((*window.before, *window.behind)):
            return self.global_pool(name, x)
        sizes, places = slide(x.shape, window)
        same = "average" if average else "maximum"
        return self._add(name, "pooling", sizes, [x], (*places, x.shape[2]), same)

    def global_pool(self, name: str, x: Value) -> Value:
        """Add the average of each channel."""
        x = _expect(x, "a global pool")
        return self._add(
            name, "global_pool", shape_sizes(x.shape), [x], (1, 1, x.shape[2]), "average"
        )

    # One word at a time

    def relu(self, name: str, x: Value) -> Value:
        """Add a rectifier."""
        return self.clamp(name, x, "ReLU")

    def clamp(self, name: str, x: Value, same: str = "") -> Value:
        """Add a clamp to any range, which takes as much as a rectifier."""
        x = _expect(x, "a ReLU", "flatten")
        return self._add(name, "relu", shape_sizes(x.shape), [x], x.shape, same)

    def hard_swish(self, name: str, x: Value) -> Value:
        """Add x * hard_sigmoid(x)."""
        x = _expect(x, "a hard-swish", "flatten")
        return self._add(name, "hard_swish", shape_sizes(x.shape), [x], x.shape, "hard-swish")

    def hard_sigmoid(self, name: str, x: Value) -> Value:
        """Add a hard-sigmoid; its product with what it is taken of is a hard-swish instead."""
        x = _expect(x, "a hard-sigmoid", "flatten")
        return self._add(name, "hard_sigmoid", shape_sizes(x.shape), [x], x.shape, "hard-sigmoid")

    def eltwise(self, name: str, operation: str, values: Sequence[Value]) -> Value:
        """Add the sum (``"add"``) or product (``"mul"``) of values.

        Values of one row and column are broadcast to the others' size.
        """
        if operation == "mul" and len(values) == 2:
            for gate, x in (values, values[::-1]):
                node = self._nodes.get(gate.source or "")
                if node and (node.kind, *node.inputs) == ("hard_sigmoid", x.source):
                    return self.hard_swish(name, x)
        values = [_expect(x, f"an element-wise {operation}", "flatten") for x in values]
        zeros = [x for x in values if x.source is None]
        shapes = {x.shape for x in values}
        shape = max(shapes)
        pixel = (1, 1, shape[2])
        unlike = len(shapes) > 1 and (zeros or shapes != {shape, pixel})
        if unlike or len({x.after for x in values if x.shape == shape}) > 1:
            found = ", ".join(" x ".join(map(str, x.shape)) for x in values)
            raise UserError(
                f"an element-wise {operation} of {found} (rows x cols x channels); accepted: "
                "values of one shape, or of one row and column and as many channels"
            )
        if zeros and operation == "mul":
            return zeros[0]
        values = [x for x in values if x.source is not None] or zeros[:1]
        if len(values) == 1:
            return values[0]
        sizes = {**shape_sizes(shape), "ports_in": len(values), "op_type": operation}
        return self._add(
            name, "eltwise", {**sizes, "broadcast": int(len(shapes) > 1)}, values, shape, operation
        )

    # Arrangements

    def concat(self, name: str, values: Sequence[Value]) -> Value:
        """Add a concatenation along the channels."""
        values = [_expect(x, "a concatenation") for x in values]
        if len({x.shape[:2] for x in values}) != 1 or any(x.source is None for x in values):
            raise UserError("a concatenation of different sizes, or of zeros")
        if len(values) == 1:
            return values[0]
        rows, cols, _ = values[0].shape
        channels = tuple(x.shape[2] for x in values)
        sizes = {"rows": rows, "cols": cols, "channels": channels, "ports_in": len(values)}
        return self._add(name, "concat", sizes, values, (rows, cols, sum(channels)))

    def pad_channels(self, name: str, x: Value, before: int, behind: int) -> Value:
        """Add channels of zeros before and behind a value's own."""
        x = _expect(x, "a padding of channels")
        if not before and not behind:
            return x
        if min(before, behind) < 0:
            raise UserError(f"a padding of {before} and {behind} channels; accepted: from 0")
        rows, cols, channels = x.shape
        sizes = {**shape_sizes(x.shape), "zeros_before": before, "zeros_behind": behind}
        shape = rows, cols, before + channels + behind
        return self._add(name, "pad_channels", sizes, [x], shape, "zeros")

    def part(self, name: str, x: Value, spans: Sequence[slice]) -> Value:
        """Add what keeps a part of a value: first channels, and every n-th row and column.

        The first channels leave by one port of a split whose other leads nowhere. Every n-th row
        and column are a pool of 1 x 1 with that stride.

        Args:
            name: of the layer.
            x: what is taken a part of.
            spans: of batch, channels, rows and columns, in this order; those left out are kept
                whole.
        """
        x = _expect(x, "a range of a map")
        rows, cols, channels = x.shape
        kept = [range(size) for size in (1, channels, rows, cols)]
        kept[: len(spans)] = [
            range(*span.indices(len(axis))) for span, axis in zip(spans, kept, strict=False)
        ]
        strides = kept[2].step, kept[3].step
        wanted = [range(1), range(len(kept[1])), range(0, rows, strides[0])]
        if not kept[1] or kept != [*wanted, range(0, cols, strides[1])]:
            said = ", ".join(f"{one.start}:{one.stop}:{one.step}" for one in kept)
            raise UserError(
                f"the part {said} of {channels} x {rows} x {cols} (channels x rows x cols); "
                "accepted: the first channels, and every n-th row and column from the first on"
            )
        if len(kept[1]) < channels:
            sizes = {**shape_sizes(x.shape), "ports_out": 2}
            shape = rows, cols, len(kept[1])
            x = self._add(name, "split", sizes, [x], shape, str(len(kept[1])))
        return x if strides == (1, 1) else self._subsample(name, x, strides)

    def _subsample(self, name: str, x: Value, strides: Pair) -> Value:
        """Keep every n-th row and column, of such a part too in one step."""
        whole, steps = self._subsampled.get(x, (x, (1, 1)))
        strides = strides[0] * steps[0], strides[1] * steps[1]
        found = self.pool(name, whole, Window((1, 1), strides), average=False)
        self._subsampled[found] = whole, strides
        return found

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Give a value another shape, (batch, ...) in the file's or torch's order of axes."""
        rows, cols, channels = x.shape
        inner = tuple(shape[1:])
        pixel = rows * cols == 1 and inner[:1] == (channels,) and math.prod(inner) == channels
        if not pixel and inner not in ((rows * cols * channels,), (channels, rows, cols)):
            raise UserError(
                f"a reshape of {channels} x {rows} x {cols} (channels x rows x cols) to "
                f"{' x '.join(map(str, inner))}; accepted: one that flattens all of it"
            )
        if x.after == "softmax":
            return x
        x = _expect(x, "a flatten", "flatten")
        # The words of one pixel are in the same order either way.
        flat = len(inner) == 1 and rows * cols > 1
        return replace(x, after="flatten" if flat else "")

    def pad(self, x: Value, pads: tuple[int, int, int, int]) -> Value:
        """Pad with zeros: top, left, bottom, right; the convolution behind does it."""
        x = _expect(x, "a padding")
        if not any(pads):
            return x
        if min(pads) < 0:
            raise UserError(f"a padding of {pads}; accepted: from 0 on each side")
        rows, cols, channels = x.shape
        shape = (rows + pads[0] + pads[2], cols + pads[1] + pads[3], channels)
        return replace(x, shape=shape, after="padding", pads=pads)

    def softmax(self, x: Value) -> Value:
        """Leave out a softmax, which only the end of a network may have."""
        return replace(_expect(x, "a softmax", "flatten"), after="softmax")

    def zeros(self, shape: Shape) -> Value:
        """Return zeros."""
        return Value(None, shape)

    def finish(self, outputs: Iterable[Value]) -> Network:
        """Return the network that makes these values."""
        ends = []
        for x in outputs:
            if x.after != "softmax":
                _expect(x, "the end of the network", "flatten")
            if x.source is None or x.source == INPUT:
                raise UserError(
                    "an output of the network does not depend on its input, or is its input"
                )
            ends.append(x.source)
        if not ends:
            raise UserError("the network has no output")
        nodes = folded(needed(self._nodes, ends), ends)
        network = Network(self.name, self.input.shape, tuple(with_splits(nodes, self.input.shape)))
        if len(network.outputs) != len(set(ends)):
            raise UserError("an output of the network is also used inside it")
        return network

    def _add(
        self,
        name: str,
        kind: str,
        sizes: Mapping[str, Any],
        inputs: Sequence[Value],
        output: Shape,
        same: str = "",
    ) -> Value:
        """Add a layer, or return what the layer makes that does the same to the same.

        Args:
            name: of the layer.
            kind: a name in LAYERS.
            sizes: see Node.
            inputs: what it takes.
            output: shape of what leaves.
            same: what it does, if all of its kind and sizes that do it are alike.
        """
        _check_sizes(sizes)
        _check_shape("the output", output)
        sources = tuple(x.source for x in inputs if x.source is not None)
        if not sources:
            return Value(None, output)
        key = (kind, same, *sizes.items(), *inputs)
        if same and key in self._done:
            return self._done[key]
        name = unused(one_line(name, 100) or kind, self._nodes)
        self._nodes[name] = Node(name, kind, sizes, sources, output)
        flat = any(x.after == "flatten" for x in inputs) and output == inputs[0].shape
        value = self._done[key] = Value(name, output, "flatten" if flat else "")
        return value


def _expect(x: Value, layer: str, *accepted: str) -> Value:
    if x.after and x.after not in accepted:
        raise UserError(f"{layer} after a {x.after}; accepted after one: {_FOLLOWERS[x.after]}")
    return x


_FOLLOWERS = {
    "flatten": "an inner product, a ReLU, a sum or product, a softmax",
    "padding": "a convolution",
    "softmax": "nothing, the network ends there",
}


def _check_shape(what: str, shape: Shape) -> None:
    if not all(1 <= size <= _LARGEST for size in shape):
        raise UserError(
            f"{what} has {' x '.join(map(str, shape))} rows x cols x channels; accepted: from 1 "
            f"to {_LARGEST} of each"
        )


def _check_sizes(sizes: Mapping[str, Any]) -> None:
    for name, value in sizes.items():
        if isinstance(value, int) and value > _LARGEST:
            raise UserError(f"{name.replace('_', ' ')} is {value}; accepted: up to {_LARGEST}")
