"""Designs in the JSON of fpgaConvNet, from which its back end makes hardware.

The layout is that of ``fpgaconvnet.proto`` in fpgaconvnet-model: partitions, each a list of
layers with streams in and out, where a squeeze is a layer of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brpnas.devices.fpga.foldings import Foldings, Words
from brpnas.devices.fpga.mapping.design import Design, Part
from brpnas.devices.fpga.memory import block_shape
from brpnas.devices.fpga.network import INPUT, Network, Node, Shape
from brpnas.errors import UserError, one_line

__all__ = ["OnnxNode", "fpgaconvnet_partitions", "onnx_nodes"]

_TYPES = {
    "convolution": ("CONVOLUTION", "dense"),
    "inner_product": ("INNER_PRODUCT", "dense"),
    "pooling": ("POOLING", "max"),
    "global_pool": ("AVERAGE_POOLING", "avg"),
    "relu": ("RELU", "ReLU"),
    "hard_swish": ("HARD_SWISH", "HardSwish"),
    "eltwise": ("ELTWISE", "add"),
    "concat": ("CONCAT", "concat"),
    "split": ("SPLIT", "split"),
}
_QUEUE = 2  # words in front of a layer that waits for nobody, fpgaConvNet's default


@dataclass(frozen=True)
class OnnxNode:
    """What an ONNX file calls a layer's operation, and what it takes and makes."""

    operation: str
    inputs: Sequence[str]
    outputs: Sequence[str]


def onnx_nodes(path: Path) -> dict[str, OnnxNode]:
    """Return the nodes of an ONNX file by the names that ``read_onnx`` gives to layers.

    Its input is there as what makes ``INPUT``.

    Raises:
        UserError: the file cannot be read.
    """
    import onnx

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # each of protobuf's implementations has its own
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from error
    constants = {tensor.name for tensor in graph.initializer}
    entering = tuple(one.name for one in graph.input if one.name not in constants)
    return {INPUT: OnnxNode("Input", (), entering)} | {
        node.name or node.output[0]: OnnxNode(node.op_type, tuple(node.input), tuple(node.output))
        for node in graph.node
        if node.output
    }


def fpgaconvnet_partitions(
    design: Design, onnx: Mapping[str, OnnxNode] | None = None
) -> dict[str, Any]:
    """Return a design in fpgaConvNet's layout.

    Args:
        design: a network on a board.
        onnx: the nodes of the file that the network was read from, where it was; they name the
            tensors of the weights.

    Raises:
        UserError: a layer that fpgaConvNet has none of.
    """
    return {
        "partition": [
            _partition(part, place, onnx or {}) for place, part in enumerate(design.parts)
        ]
    }


def _partition(part: Part, place: int, onnx: Mapping[str, OnnxNode]) -> dict[str, Any]:
    segment, network = part.segment, part.segment.problem.network
    reloaded = segment.reload_layer() if segment.reloads > 1 else None
    names = {node.name for node in segment.nodes}
    read = [name for node in segment.nodes for name in node.inputs if name not in names]
    written = [segment.nodes[at].name for at in segment.sinks]
    return {
        "id": place,
        "ports": 1,
        "batch_size": segment.problem.batch,
        "input_nodes": _tensors(network, read, onnx),
        "output_nodes": _tensors(network, written, onnx),
        "weights_reloading_factor": segment.reloads,
        "weights_reloading_layer": "None" if reloaded is None else segment.nodes[reloaded].name,
        "layers": _Graph(part, onnx).layers(),
    }


def _tensors(network: Network, layers: Sequence[str], onnx: Mapping[str, OnnxNode]) -> list[str]:
    """Return what an ONNX file calls the outputs of layers; their own names where it has none."""
    found = []
    for name in layers:
        while name != INPUT and network.node(name).kind == "split":  # copies are one tensor
            name = network.node(name).inputs[0]
        found.append(onnx[name].outputs[0] if name in onnx else name or "input")
    return list(dict.fromkeys(found))


@dataclass
class _Graph:
    """The layers of a part and the squeezes between them, in an order in which they can run."""

    part: Part
    onnx: Mapping[str, OnnxNode]
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def layers(self) -> list[dict[str, Any]]:
        segment, choice = self.part.segment, self.part.choice
        squeezes = {
            (first, second): (one, other) for first, second, one, other in segment.squeezes(choice)
        }
        queues = segment.buffers(choice)
        place = {node.name: at for at, node in enumerate(segment.nodes)}
        for at, (node, ways, row) in enumerate(
            zip(segment.nodes, segment.ways, choice, strict=True)
        ):
            sources = [place.get(name, -1) for name in node.inputs]
            waiting = [self._adapted(first, at, squeezes.get((first, at))) for first in sources]
            self._add(node, ways, row)
            for first, before in zip(sources, waiting, strict=True):
                self._link(
                    before, node.name, int(ways.streams_in[row]), queues.get((at, first), _QUEUE)
                )
        for at in segment.sinks:
            node, ways, row = segment.nodes[at], segment.ways[at], choice[at]
            last = self._adapted(at, -1, squeezes.get((at, -1))) or node.name
            streams = squeezes.get((at, -1), (0, int(ways.streams_out[row])))[1]
            self._link(last, None, streams, _QUEUE)
        return list(self.found.values())

    def _adapted(self, first: int, second: int, streams: tuple[int, int] | None) -> str | None:
        """Return what a layer's words come from, None for memory; a squeeze, if one is needed."""
        nodes = self.part.segment.nodes
        before = nodes[first].name if first >= 0 else None
        if streams is None:
            return before
        beside = nodes[first if first >= 0 else second]
        behind = nodes[second].name if second >= 0 else "out"
        shape = beside.output if first >= 0 else _shape_in(beside)
        name = self._fresh(f"{before or 'in'}_squeeze_{behind}")
        parameters = {
            **_sizes(shape, shape),
            **dict(zip(("coarse_in", "coarse_out"), streams, strict=True)),
            "data_t": _fixed(self.part.segment.problem.words.data),
        }
        self.found[name] = self._entry(name, beside.name, "SQUEEZE", "squeeze", parameters)
        self._link(before, name, streams[0], _QUEUE)
        return name

    def _fresh(self, name: str) -> str:
        taken = {node.name for node in self.part.segment.nodes} | set(self.found)
        while name in taken:
            name += "_"
        return name

    def _add(self, node: Node, ways: Foldings, row: int) -> None:
        words = self.part.segment.problem.words
        if node.kind not in _TYPES:
            raise UserError(
                f"layer '{node.name}', {node.kind}: fpgaConvNet has none of its kind; accepted "
                f"for its back end: {', '.join(_TYPES)}"
            )
        kind, operation = _TYPES[node.kind]
        source = self.onnx.get(node.name)
        if source and source.operation == "AveragePool":
            operation = "avg"
        operation = node.sizes.get("op_type", operation)
        parameters = _parameters(node, ways, row, words)
        left = parameters["channels_in"] - parameters["channels_out"]
        if node.kind == "split" and left:  # not copies, but the first channels and the others
            kind, operation = "CHOP", "chop"
            parameters["split"] = [parameters["channels_out"], left]
        entry = self._entry(node.name, node.name, kind, operation, parameters)
        if source and node.weights:
            tensors = (*source.inputs[1:3], "", "")
            entry |= {"weights_path": tensors[0], "bias_path": tensors[1]}
        self.found[node.name] = entry

    def _entry(
        self, name: str, onnx_node: str, kind: str, operation: str, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "name": name,
            "onnx_node": onnx_node,
            "type": kind,
            "op_type": operation,
            "streams_in": [],
            "streams_out": [],
            "parameters": {"batch_size": self.part.segment.problem.batch, **parameters},
        }

    def _link(self, first: str | None, second: str | None, streams: int, queue: int) -> None:
        """Note a stream at both of its ends; without the one or the other it is memory's."""
        name = "in" if first is None else "out" if second is None else f"{first}_{second}"
        stream = {"name": name, "coarse": streams, "buffer_depth": queue}
        if second is not None:
            self.found[second]["streams_in"].append({**stream, "node": first or second})
        if first is not None:
            self.found[first]["streams_out"].append({**stream, "node": second or first})


def _shape_in(node: Node) -> Shape:
    channels = node.sizes["channels"]
    return (
        node.sizes["rows"],
        node.sizes["cols"],
        sum(channels) if isinstance(channels, tuple) else channels,
    )


def _sizes(entering: Shape, leaving: Shape) -> dict[str, Any]:
    names = ("rows", "cols", "channels")
    return {
        **{f"{name}_in": size for name, size in zip(names, entering, strict=True)},
        **{f"{name}_out": size for name, size in zip(names, leaving, strict=True)},
    }


def _fixed(width: int) -> dict[str, int]:
    """Return a number's format; fpgaConvNet's default is half of it behind the point."""
    return {"width": width, "binary_point": width // 2}


def _parameters(node: Node, ways: Foldings, row: int, words: Words) -> dict[str, Any]:
    sizes, folding = dict(node.sizes), ways.row(row)
    found: dict[str, Any] = _sizes(_shape_in(node), node.output)
    coarse = {name: value for name, value in folding.items() if name not in ("off_chip", "uram")}
    if "coarse" in coarse:
        coarse |= dict.fromkeys(("coarse_in", "coarse_out"), coarse["coarse"])
    found |= coarse
    for name in ("rows", "cols", "channels", "op_type", "broadcast"):
        sizes.pop(name, None)
    found |= sizes  # filters, groups, has_bias, the window, the ports: under the same names
    for name in ("kernel", "stride"):
        if f"{name}_rows" in sizes:
            both = [sizes[f"{name}_rows"], sizes[f"{name}_cols"]]
            found["kernel_size" if name == "kernel" else name] = both
    if node.kind == "concat":
        ports = len(node.inputs)
        found["channels_in_array"] = list(node.sizes["channels"])
        found |= {f"{name}_in_array": [node.sizes[name]] * ports for name in ("rows", "cols")}
    if node.kind in ("eltwise", "concat"):
        found["ports_out"] = 1
    if node.kind == "split":
        found["ports_in"] = 1
    if not node.weights:
        found["data_t"] = _fixed(words.data)
        if node.kind in ("global_pool", "eltwise"):
            found["acc_t"] = _fixed(words.acc)
        return found
    found |= dict.fromkeys(("input_t", "output_t"), _fixed(words.data))
    found |= {"weight_t": _fixed(words.weight), "acc_t": _fixed(words.acc)}
    return found | _memory(node, folding, words)


def _memory(node: Node, folding: Mapping[str, int], words: Words) -> dict[str, Any]:
    """Say where the weights lie, in words of all multipliers together."""
    names = ("coarse_in", "coarse_out", "coarse_group", "fine")
    lanes = math.prod(folding.get(name, 1) for name in names)
    across, unit = block_shape(np.array(float(words.weight * lanes)))
    streamed = float(across) * math.ceil(folding["off_chip"] / float(unit))
    return {
        "block_floating_point": words.block_floating_point,
        "use_uram": bool(folding["uram"]),
        "stream_weights": int(streamed),
        "on_chip_addr_range": math.ceil(node.weights / lanes) - folding["off_chip"],
    }
