from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from brpnas.devices.fpga import read_platform
from brpnas.devices.fpga.foldings import Words
from brpnas.devices.fpga.fpgaconvnet import fpgaconvnet_partitions, onnx_nodes
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.mapping import Design, Part
from brpnas.devices.fpga.memory import memory_blocks
from brpnas.devices.fpga.network import Network
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError

# The fields of fpgaconvnet.proto that are used.
STREAM = {"name", "coarse", "buffer_depth", "node"}
LAYER = {"name", "onnx_node", "type", "op_type", "streams_in", "streams_out", "parameters"}
PARAMETERS = {
    *("batch_size", "rows_in", "cols_in", "channels_in", "rows_out", "cols_out", "channels_out"),
    *("coarse_in", "coarse_out", "coarse", "coarse_group", "groups", "fine", "filters", "has_bias"),
    *("pad_top", "pad_right", "pad_bottom", "pad_left", "kernel_rows", "kernel_cols"),
    *("kernel_size", "stride_rows", "stride_cols", "stride", "ports_in", "ports_out"),
    *("data_t", "weight_t", "acc_t", "input_t", "output_t", "rows_in_array", "cols_in_array"),
    *("split", "channels_in_array", "use_uram", "block_floating_point", "stream_weights"),
    "on_chip_addr_range",
}


def design(network: Network, cuts: list[int], row: int, board: str = "u250") -> Design:
    problem = Problem(network, read_platform(board), Words(8, 8), 16)
    places = [0, *cuts, len(network.nodes)]
    segments = [Segment(problem, *span) for span in itertools.pairwise(places)]
    return Design(
        problem,
        tuple(
            Part(segment, tuple(range(len(ways))[row] for ways in segment.ways))
            for segment in segments
        ),
    )


def check_streams(partition: dict[str, Any]) -> None:
    """Every stream within a part leaves one layer and enters a later one, equally wide."""
    place = {layer["name"]: at for at, layer in enumerate(partition["layers"])}
    assert len(place) == len(partition["layers"])
    leaving = {}
    for at, layer in enumerate(partition["layers"]):
        for stream in layer["streams_in"]:
            if stream["name"] == "in":
                assert stream["node"] == layer["name"]
                continue
            assert leaving.pop((stream["node"], layer["name"], stream["name"])) == stream["coarse"]
            assert place[stream["node"]] < at
        for stream in layer["streams_out"]:
            if stream["name"] == "out":
                assert stream["node"] == layer["name"]
            else:
                leaving[layer["name"], stream["node"], stream["name"]] = stream["coarse"]
        parameters = layer["parameters"]
        group = parameters.get("coarse_group", 1)
        for side in ("in", "out"):
            streams = {stream["coarse"] for stream in layer[f"streams_{side}"]}
            assert streams == {parameters[f"coarse_{side}"] * group}
            # A layer that keeps the first channels only may have more streams than those.
            if not layer["name"].startswith("narrow"):
                assert parameters[f"channels_{side}"] % parameters[f"coarse_{side}"] == 0
    assert not leaving


@pytest.mark.parametrize("row", [0, 7, -1])
@pytest.mark.parametrize("cut", [False, True])
def test_a_network_with_all_that_there_is(
    row: int, cut: bool, known_module: Callable[[str], nn.Module]
) -> None:
    network = network_of(known_module("gated"), torch.zeros(1, 3, 64, 64, device="meta"))
    kinds = [node.kind for node in network.nodes]
    rows = {"hard_swish", "eltwise", "concat", "split", "global_pool", "inner_product"}
    assert rows < {*kinds}
    fewest = min(len(Problem(network, read_platform("u250")).foldings(x)) for x in network.nodes)
    row = min(row, fewest - 1)
    found = fpgaconvnet_partitions(
        design(network, [kinds.index("eltwise"), kinds.index("concat")] if cut else [], row)
    )["partition"]
    assert [part["id"] for part in found] == list(range(3 if cut else 1))
    names = [layer["name"] for part in found for layer in part["layers"]]
    assert [name for name in names if "_squeeze_" not in name] == [x.name for x in network.nodes]
    for part in found:
        check_streams(part)
        for layer in part["layers"]:
            assert set(layer) == LAYER
            for stream in (*layer["streams_in"], *layer["streams_out"]):
                assert set(stream) == STREAM
            assert set(layer["parameters"]) <= PARAMETERS
            assert layer["parameters"]["batch_size"] == 16
    first, last = found[0], found[-1]
    assert (first["input_nodes"], last["output_nodes"]) == (["input"], [network.outputs[0]])
    sources = [stream for layer in first["layers"] for stream in layer["streams_in"]]
    assert sum(stream["name"] == "in" for stream in sources) == 1


def test_waiting_branches_have_queues(known_module: Callable[[str], nn.Module]) -> None:
    network = network_of(known_module("resnet18"), torch.zeros(1, 3, 64, 64, device="meta"))
    mapped = design(network, [], 0)
    (part,) = fpgaconvnet_partitions(mapped)["partition"]
    queues = mapped.parts[0].segment.buffers(mapped.parts[0].choice)
    depths = [
        stream["buffer_depth"]
        for layer in part["layers"]
        if layer["type"] == "ELTWISE"
        for stream in layer["streams_in"]
    ]
    assert sorted(depths) == sorted(queues.values())
    assert max(depths) > 64


def test_weights_that_are_loaded_again_and_where_they_lie() -> None:
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.ReLU())
    network = network_of(model, torch.zeros(1, 64, 8, 8))  # its layers are called 0 and 1
    problem = Problem(network, read_platform("zcu104"), Words(), 4)
    segment = Segment(problem, 0, 2, reloads=4)
    seen = set()
    for row in range(len(segment.ways[0])):
        mapped = Design(problem, (Part(segment, (row, 0)),))
        (part,) = fpgaconvnet_partitions(mapped)["partition"]
        assert (part["weights_reloading_factor"], part["weights_reloading_layer"]) == (4, "0")
        (parameters,) = [one["parameters"] for one in part["layers"] if one["name"] == "0"]
        assert (parameters["filters"], parameters["channels_out"]) == (16, 16)
        folding = segment.ways[0].row(row)
        lanes = folding["coarse_in"] * folding["coarse_out"] * folding["fine"]
        words = 3 * 3 * 64 * 16 / lanes
        blocks = memory_blocks(torch.tensor([words]).numpy(), torch.tensor([16.0 * lanes]).numpy())
        assert 0 <= parameters["stream_weights"] <= blocks[0]
        assert (parameters["stream_weights"] > 0) == (parameters["on_chip_addr_range"] < words)
        seen.add((parameters["use_uram"], parameters["stream_weights"] > 0))
    assert seen == {(False, False), (False, True), (True, False)}


def test_names_of_the_file(shared: Path) -> None:
    path = shared / "fpga/nets/resnet8.onnx"
    network = read_onnx(path)
    cut = [node.name for node in network.nodes].index("conv4")
    one, other = fpgaconvnet_partitions(design(network, [cut], 0), onnx_nodes(path))["partition"]
    # Both branches of the split before the cut are one tensor.
    assert one["output_nodes"] == other["input_nodes"]
    graph = onnx_nodes(path)
    assert one["input_nodes"] == list(graph[""].outputs)
    assert other["output_nodes"] == list(graph["ip1"].outputs)
    for layer in (*one["layers"], *other["layers"]):
        if layer["type"] in ("CONVOLUTION", "INNER_PRODUCT"):
            assert layer["weights_path"] == graph[layer["name"]].inputs[1]
            assert layer["bias_path"] == graph[layer["name"]].inputs[2]
        else:
            assert "weights_path" not in layer


def test_no_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        onnx_nodes(tmp_path / "absent.onnx")
