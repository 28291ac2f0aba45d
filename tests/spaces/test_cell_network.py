from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from brpnas.lowrank.counting import count_macs
from brpnas.spaces import Cell, NASBench201, NetworkShape

SPACE = NASBench201()
PLACES = ("0to1", "0to2", "1to2", "0to3", "1to3", "2to3")
TINY = NetworkShape(channels=4, cells_per_stage=1, classes=3, input_size=8)
NONE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def _randomise(network: nn.Module, seed: int) -> None:
    """Random weights, and batch-norms that do something, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if "num_batches" in name:
            continue
        positive = "running_var" in name
        noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        value.copy_(noise.abs() + 0.5 if positive else noise * 0.5)


def _macs(network: nn.Module, shape: NetworkShape) -> int:
    size = shape.input_size
    example = torch.zeros(1, shape.input_channels * shape.replicas, size, size)
    return count_macs(network, example)


def _params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# One class, one function


def _convolutions(cell: Cell) -> dict[str, list[str]]:
    """Places of the surviving convolutions, by kind."""
    live = SPACE.graph(cell).live[1:-1]
    found: dict[str, list[str]] = {"nor_conv_1x1": [], "nor_conv_3x3": []}
    for place, operation, alive in zip(PLACES, cell.operations, live, strict=True):
        if alive and operation in found:
            found[operation].append(place)
    return found


def _differences(one: Cell, other: Cell, x: Tensor) -> list[float]:
    """Largest differences between two networks, over all ways to give one's weights to the other.

    Convolutions that are fed by nothing keep batch-norms without bias, as at initialisation, so
    that they give zero; every other weight is random.
    """
    networks = []
    for cell in (one, other):
        torch.manual_seed(0)
        networks.append(SPACE.build(cell, TINY).double().eval())
    source, target = networks
    convolutions, homes = _convolutions(one), _convolutions(other)
    if {kind: len(places) for kind, places in convolutions.items()} != {
        kind: len(places) for kind, places in homes.items()
    }:
        return []
    fed = {place for places in convolutions.values() for place in places}
    for seed, (name, child) in enumerate(source.named_modules()):
        if name.rsplit(".", 1)[-1] in fed:
            _randomise(child, seed)
    frame = {k: v for k, v in source.state_dict().items() if ".operations." not in k}
    cells = [name for name, child in source.named_modules() if name.endswith(".operations")]
    with torch.no_grad():
        expected = source(x)
        found = []
        for orders in itertools.product(*map(itertools.permutations, convolutions.values())):
            state = dict(frame)
            for order, kind in zip(orders, homes, strict=True):
                for origin, home in zip(order, homes[kind], strict=True):
                    for cell_name in cells:
                        given = source.get_submodule(f"{cell_name}.{origin}").state_dict()
                        state |= {f"{cell_name}.{home}.{k}": v for k, v in given.items()}
            target.load_state_dict(state, strict=False)
            found.append(float((target(x) - expected).abs().max()))
    return found


def _images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def test_networks_of_one_class_give_equal_outputs() -> None:
    classes = defaultdict(list)
    for cell in SPACE:
        classes[SPACE.canonical(cell)].append(cell)
    several = [members for members in classes.values() if len(members) > 1]
    rng = np.random.default_rng(0)
    for row in rng.choice(len(several), 60, replace=False):
        members = several[row]
        first, second = rng.choice(len(members), 2, replace=False)
        differences = _differences(members[first], members[second], _images())
        assert min(differences) < 1e-5, (str(members[first]), str(members[second]))


def test_networks_of_two_classes_do_not() -> None:
    rng = np.random.default_rng(0)
    compared = 0
    while compared < 60:
        (cell,) = SPACE.sample(1, rng)
        other = SPACE.mutate(cell, rng)  # as near as two cells can be
        if SPACE.canonical(cell) == SPACE.canonical(other) or not SPACE.graph(cell).live.any():
            continue
        differences = _differences(cell, other, _images())
        if differences:  # none where the numbers of convolutions differ
            compared += 1
            assert min(differences) > 1e-5, (str(cell), str(other))


# Size


def _extremes() -> list[Cell]:
    uniform = [Cell((name,) * 6) for name in ("none", "skip_connect", "avg_pool_3x3")]
    return [*uniform, Cell(("nor_conv_1x1",) * 6), Cell(("nor_conv_3x3",) * 6)]


def test_official_size_has_the_official_costs(shared: Path) -> None:
    """``flops_m`` counts multiply-accumulates and one addition for each class's bias."""
    columns = ["arch", "flops_m", "params_m"]
    table = pd.read_parquet(shared / "data" / "nasbench201.parquet", columns=columns)
    official = table.set_index("arch")
    for cell in [*_extremes(), *SPACE.sample(35, np.random.default_rng(0))]:
        network = SPACE.build(cell)
        flops_m = (_macs(network, NetworkShape()) + 10) / 1e6
        assert flops_m == pytest.approx(official.loc[str(cell), "flops_m"], abs=1e-5)
        params_m = _params(network) / 1e6
        assert params_m == pytest.approx(official.loc[str(cell), "params_m"], abs=1e-6)


def test_graph_has_the_numbers_of_the_modules_operations() -> None:
    text = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    network, frame = SPACE.build(SPACE.parse(text)), SPACE.build(SPACE.parse(NONE))
    numbers = SPACE.graph(SPACE.parse(text)).numbers.astype(np.float64)
    macs = _macs(network, NetworkShape()) - _macs(frame, NetworkShape())
    assert numbers[:, 2].sum() * 1e6 == pytest.approx(macs, rel=1e-6)
    for place, row in zip(PLACES, numbers[1:-1], strict=True):
        held = [m for name, m in network.named_modules() if name.endswith(f"operations.{place}")]
        assert sum(map(_params, held)) == pytest.approx(row[3] * 1e6, abs=0.5)


def test_small_network_counted_by_hand() -> None:
    shape = NetworkShape(channels=2, cells_per_stage=1, classes=5, input_size=4, input_channels=1)
    cell = SPACE.parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|")
    stem = 2 * 1 * 9 * 16
    cells = sum((9 + 1) * c * c * s * s for c, s in ((2, 4), (4, 2), (8, 1)))
    reductions = sum((18 + 36 + 2) * c * c * s * s for c, s in ((2, 2), (4, 1)))
    assert _macs(SPACE.build(cell, shape), shape) == stem + cells + reductions + 8 * 5


@pytest.mark.parametrize(
    "shape",
    [
        NetworkShape(channels=1, cells_per_stage=1, classes=2, input_size=4, input_channels=1),
        NetworkShape(channels=5, cells_per_stage=2, classes=3, input_size=5, input_channels=2),
        NetworkShape(channels=3, cells_per_stage=1, classes=1, input_size=7),
        NetworkShape(channels=2, cells_per_stage=3, classes=100, input_size=33),
    ],
)
def test_other_shapes(shape: NetworkShape) -> None:
    x = torch.randn(2, shape.input_channels, shape.input_size, shape.input_size)
    for cell in [*_extremes(), *SPACE.sample(5, np.random.default_rng(0))]:
        network = SPACE.build(cell, shape)
        scores = network(x)
        assert scores.shape == (2, shape.classes)
        assert scores.isfinite().all()
        cells = [m for name, m in network.named_modules() if name.endswith(".operations")]
        assert len(cells) == 3 * shape.cells_per_stage


# What the operations do


def _only(operation: str, x: Tensor) -> Tensor:
    """What the cell computes that has this operation alone, from input to output."""
    text = f"|none~0|+|none~0|none~1|+|{operation}~0|none~1|none~2|"
    shape = NetworkShape(channels=x.shape[1], cells_per_stage=1)
    network = SPACE.build(SPACE.parse(text), shape).eval()
    cell = next(m for name, m in network.named_modules() if name.endswith(".operations"))
    holder = next(m for m in network.modules() if cell in list(m.children()))
    output: Tensor = holder(x)
    return output


def test_pool_leaves_padding_out_of_the_mean() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    pooled = _only("avg_pool_3x3", x)[0, 0]
    assert pooled[1, 1] == 4
    assert pooled[0, 0] == (0 + 1 + 3 + 4) / 4
    assert pooled[0, 1] == (0 + 1 + 2 + 3 + 4 + 5) / 6


def test_skip_and_none() -> None:
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(_only("skip_connect", x), x)
    assert torch.equal(_only("none", x), torch.zeros_like(x))


@pytest.mark.parametrize("operation", ["nor_conv_1x1", "nor_conv_3x3"])
def test_convolution_begins_with_relu_and_maps_zero_to_zero(operation: str) -> None:
    x = -torch.rand(1, 2, 3, 3)
    assert torch.equal(_only(operation, x), torch.zeros_like(x))
    assert _only(operation, -x).abs().max() > 0


def test_replicas_do_not_touch_each_other() -> None:
    cell = SPACE.parse(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    )
    together = SPACE.build(cell, NetworkShape(4, 1, 3, 8, 2, replicas=3)).eval()
    _randomise(together, seed=0)
    alone = SPACE.build(cell, NetworkShape(4, 1, 3, 8, 2)).eval()
    x = torch.randn(5, 6, 8, 8)
    with torch.no_grad():
        scores = together(x)
        assert scores.shape == (5, 3, 3)
        for replica in range(3):
            state = {
                name: value if value.ndim == 0 else value.chunk(3)[replica]
                for name, value in together.state_dict().items()
            }
            alone.load_state_dict(state)
            expected = alone(x[:, 2 * replica : 2 * replica + 2])
            torch.testing.assert_close(scores[:, replica], expected, rtol=1e-4, atol=1e-4)
