from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from brpnas.devices.fpga import evaluate_layers, read_platform
from brpnas.devices.fpga.export import bound_of, describe_design, read_design
from brpnas.devices.fpga.foldings import RESOURCES, Words
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.mapping import Best, Design, Part
from brpnas.devices.fpga.network import Network
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError

Write = Callable[[Any], Path]


def chain() -> Network:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    return network_of(model, torch.zeros(1, 3, 16, 16), "chain")


def folded(problem: Problem, spans: Sequence[tuple[int, int, int]], row: int = -1) -> Design:
    """Return parts (start, stop, reloads) in which each layer is built in the same of its ways."""
    segments = [Segment(problem, *span) for span in spans]
    return Design(
        problem,
        tuple(
            Part(segment, tuple(range(len(ways))[row] for ways in segment.ways))
            for segment in segments
        ),
    )


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: Any) -> Path:
        path = tmp_path / "design.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.mark.parametrize(
    "problem",
    [
        Problem(chain(), read_platform("zc706"), batch=1),
        Problem(chain(), read_platform("zcu104"), Words(8, 8), 64, 0.1, True),
        Problem(chain(), read_platform("zedboard"), Words(block_floating_point=True), 256),
    ],
)
@pytest.mark.parametrize("spans", [[(0, 6, 1)], [(0, 3, 1), (3, 5, 4), (5, 6, 1)]])
@pytest.mark.parametrize("row", [0, -1])
def test_what_is_read_back_costs_the_same(
    problem: Problem, spans: list[tuple[int, int, int]], row: int, write: Write
) -> None:
    design = folded(problem, spans, row)
    content = describe_design(design)
    found = read_design(write(content))
    assert describe_design(found) == content
    assert (found.seconds, found.problem) == (design.seconds, design.problem)
    for one, other in zip(found.parts, design.parts, strict=True):
        assert one.choice == other.choice
        assert one.costs.resources.tolist() == other.costs.resources.tolist()


@pytest.mark.parametrize("name", ["gated", "resnet18"])
def test_branches_are_read_back(
    name: str, known_module: Callable[[str], nn.Module], write: Write
) -> None:
    network = network_of(known_module(name), torch.zeros(1, 3, 64, 64, device="meta"), name)
    design = folded(Problem(network, read_platform("u250")), [(0, len(network.nodes), 1)], 0)
    content = describe_design(design)
    assert content["parts"][0]["queues"]
    assert describe_design(read_design(write(content))) == content


def test_the_optimum_of_a_network(shared: Path, write: Write) -> None:
    network = read_onnx(shared / "fpga/nets/lenet.onnx")
    design = Best().map(Problem(network, read_platform("zcu104"), batch=1))
    found = read_design(write(describe_design(design)))
    assert (found.seconds, found.fits) == (design.seconds, True)


def test_content_by_hand() -> None:
    network = network_of(nn.Sequential(nn.Conv2d(4, 8, 1)), torch.zeros(1, 4, 5, 5), "one")
    problem = Problem(network, read_platform("zc706"), batch=2)
    segment = Segment(problem, 0, 1)
    wanted = {"coarse_in": 2, "coarse_out": 4, "coarse_group": 1, "fine": 1}
    rows = [segment.ways[0].row(row) for row in range(len(segment.ways[0]))]
    row = rows.index({**wanted, "off_chip": 0, "uram": 0})
    content = describe_design(Design(problem, (Part(segment, (row,)),)))
    (part,) = content["parts"]
    (layer,) = part["layers"]
    # 25 pixels, 4 x 8 products for each by 2 x 4 multipliers at a time
    assert (layer["latency_cycles"], part["interval_cycles"]) == (100, 100)
    assert (layer["streams_in"], layer["streams_out"], layer["bound_by"]) == (2, 4, "multipliers")
    assert layer["resources"]["DSP"] == part["needs"]["DSP"] == 8
    assert part["resources"]["LUT"] < part["needs"]["LUT"] < part["resources"]["LUT"] * 1.06
    assert (content["objective"], content["throughput_fps"]) == (
        "throughput",
        2 / content["latency_s"],
    )
    assert content["latency_s"] == part["cycles"] / 200e6
    assert set(content["limits"]) == set(RESOURCES)


def test_the_costs_of_a_layer_are_those_of_evaluate_layers() -> None:
    problem = Problem(chain(), read_platform("zc706"))
    for layer in describe_design(folded(problem, [(0, 6, 1)], 0))["parts"][0]["layers"]:
        words = {"data_width": 16, "weight_width": 16, "acc_width": 30}
        row = pd.DataFrame([{**layer["sizes"], **layer["folding"], **words}])
        costs = evaluate_layers(layer["kind"], row, reference_exact=False).iloc[0]
        assert layer["latency_cycles"] == costs["latency"]
        assert layer["resources"] == {**costs[["DSP", "BRAM", "LUT", "FF"]], "URAM": 0}


def test_what_bounds_a_layer() -> None:
    ways = Segment(Problem(chain(), read_platform("u250")), 0, 1).ways[0]
    found = {bound_of(ways, row) for row in range(len(ways))}
    assert found == {"multipliers", "streams in"}
    for row in range(len(ways)):
        products = 16 * 16 * 27 * 8 / (ways.streams_in * ways.streams_out * ways.columns["fine"])
        assert (bound_of(ways, row) == "multipliers") == (ways.latency[row] == products[row])


def content() -> Any:
    return describe_design(folded(Problem(chain(), read_platform("zc706")), [(0, 6, 1)], 0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "onnx"}, "its format is not 'brpnas-fpga-design'"),
        ({"version": 3}, "version 3 of the format; accepted: 2"),
        ({"version": None}, "version None of the format"),
        ({"batch": 0}, "a batch of 0"),
        ({"margin": 1}, "a margin of 1"),
        ({"words": {"data": 16, "weight": 40}}, "edited, or made by another version"),
        ({"latency_s": 1}, "latency_s is .*, not 1: edited"),
        ({"parts": []}, "edited"),
        ({"words": {"bits": 16}}, "damaged: .*'bits'"),
        ({"network": {"name": "x"}}, "damaged: 'input' is missing"),
        ({"parts": 3}, "damaged"),
    ],
)
def test_other_files(change: dict[str, Any], reason: str, write: Write) -> None:
    path = write(content() | change)
    with pytest.raises(UserError, match=reason) as error:
        read_design(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_changed_layer(write: Write) -> None:
    changed = content()
    layer = changed["parts"][0]["layers"][3]
    for key, value, reason in (
        ("folding", {**layer["folding"], "coarse_out": 3}, "layers, row .*: coarse_out is 3"),
        ("folding", {"fine": 1}, "column 'coarse_in' is missing"),
        ("folding", {**layer["folding"], "off_chip": 7}, f"layer '{layer['name']}' cannot be"),
        ("sizes", {**layer["sizes"], "channels": 10**30}, "column 'channels' holds values"),
        ("sizes", {**layer["sizes"], "channels": 2**21}, "channels is 2097152; accepted"),
        ("sizes", {**layer["sizes"], "rows": 100}, "latency_s is .*, not "),
        ("latency_cycles", 1, r"parts\[0\]\.layers\[3\]\.latency_cycles is \d+, not 1: edited"),
        ("kind", "lstm", "unknown kind of layer 'lstm'"),
        ("inputs", ["nobody"], "is out of order"),
    ):
        changed["parts"][0]["layers"][3] = {**layer, key: value}
        with pytest.raises(UserError, match=reason):
            read_design(write(changed))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"version": NaN}', "[" * 100_000])
def test_no_design(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.json: not "):
        read_design(path)
    with pytest.raises(UserError, match=r"absent\.json: cannot be read: No such file"):
        read_design(tmp_path / "absent.json")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to all values in a JSON value."""
    if not isinstance(value, dict | list):
        return [path]
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


def test_every_damage_is_refused_in_one_line(write: Write) -> None:
    network = network_of(nn.Sequential(nn.Conv2d(4, 8, 1)), torch.zeros(1, 4, 5, 5), "one")
    whole = describe_design(folded(Problem(network, read_platform("zc706")), [(0, 1, 1)]))
    for path in places(whole)[1:]:
        for value in (None, -1.5, "x", {}):
            changed = copy.deepcopy(whole)
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            file = write(changed)
            if value == "x" and {"sources", "title", "name", "command"} & {*path}:
                continue  # for people only: any text will do
            if "sources" in path or changed == whole:
                continue
            with pytest.raises(UserError) as error:
                read_design(file)
            assert str(error.value).startswith(f"{file}: "), path
            assert "\n" not in str(error.value)
