from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from brpnas.devices import Device
from brpnas.devices.fpga import read_platform
from brpnas.devices.fpga.device import FPGADevice, is_fpga, open_fpga
from brpnas.devices.fpga.foldings import Words
from brpnas.devices.fpga.from_torch import network_of
from brpnas.errors import UserError

BOARD = read_platform("zedboard")
IMAGE = torch.zeros(1, 3, 16, 16)


@pytest.fixture
def module() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(288, 10))


def test_a_measurement_is_that_of_the_design_and_says_that_it_is_computed(
    module: nn.Module,
) -> None:
    device: Device = open_fpga("fpga:zedboard")
    assert isinstance(device, FPGADevice)
    found = device.measure(module, IMAGE)
    assert module.training
    design = device.map(network_of(module, IMAGE))
    assert design.problem.batch == 1
    assert not design.problem.reference_exact
    assert design.fits
    assert found.samples == (design.seconds * 1000,)
    assert found.unit == "ms"
    for said in ("computed", "ZedBoard", "clock_mhz: 200", "data 16, weights 16", "partitions: 1"):
        assert said in found.conditions
    # 200 MHz: no fewer cycles than the words of the image, no more than without any folding.
    macs = 16 * 16 * 27 * 8 + 36 * 72 * 8 + 2880
    assert 16 * 16 / 2e8 < found.median / 1000 < 2 * macs / 2e8


def test_the_columns_of_a_table(module: nn.Module) -> None:
    device = open_fpga("fpga:zedboard")
    design = device.map(network_of(module, IMAGE))
    columns = device.summarise(design)
    (part,) = design.parts
    assert columns["latency_ms"] == design.seconds * 1000
    assert columns["interval_cycles"] == part.costs.interval
    assert columns["dsp"] == part.costs.resources[0] <= BOARD.resources["DSP"]
    assert 0 < columns["lut"] <= BOARD.resources["LUT"]
    assert set(columns) == set(device.notes)  # no URAM on this board
    assert "uram" in open_fpga("fpga:zcu104").notes


def test_shorter_words_are_no_slower_and_a_margin_no_faster(module: nn.Module) -> None:
    plain = FPGADevice(BOARD).measure(module, IMAGE).median
    assert FPGADevice(BOARD, Words(8, 8)).measure(module, IMAGE).median <= plain
    assert FPGADevice(BOARD, margin=0.9).measure(module, IMAGE).median > plain


def test_figures_depend_on_all_that_the_identity_tells() -> None:
    others = [
        FPGADevice(read_platform("zc706")),
        FPGADevice(BOARD, Words(8, 8)),
        FPGADevice(BOARD, Words(block_floating_point=True)),
        FPGADevice(BOARD, margin=0.1),
        FPGADevice(BOARD, reference_exact=True),
        FPGADevice(BOARD, optimiser="rule"),
        FPGADevice(dataclasses.replace(BOARD, clock_mhz=100.0)),
        FPGADevice(dataclasses.replace(BOARD, resources={**BOARD.resources, "DSP": 1})),
    ]
    seen = [tuple(one.identity().items()) for one in [FPGADevice(BOARD), *others]]
    assert len(set(seen)) == len(seen)
    assert all(pickle.loads(pickle.dumps(one)) == one for one in others)


def test_a_board_of_the_users_own(tmp_path: Path, module: nn.Module) -> None:
    own = Path(__file__).parents[3] / "devices" / "fpga" / "platforms" / "zedboard.toml"
    path = tmp_path / "mine.toml"
    path.write_text(own.read_text().replace("DSP = 220", "DSP = 20"))
    device = open_fpga(f"fpga:{path}")
    assert device.identity()["name"] == "fpga:mine"
    assert device.measure(module, IMAGE).median > FPGADevice(BOARD).measure(module, IMAGE).median


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: open_fpga("fpga:zc70"), "unknown platform 'zc70'. Did you mean 'zc706'"),
        (lambda: open_fpga("fpga:"), "device 'fpga:': accepted: fpga:PLATFORM, such as fpga:zc706"),
        (lambda: open_fpga("fpga:no.toml"), "no.toml: cannot be read"),
        (lambda: FPGADevice(BOARD, optimiser="bset"), "unknown optimiser 'bset'"),
        (
            lambda: FPGADevice(BOARD).measure(nn.Conv2d(3, 8, 3, dilation=2), IMAGE),
            "dilation 2 x 2; accepted",
        ),
    ],
)
def test_bad_input(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_which_names_mean_fpgas() -> None:
    assert is_fpga("fpga:zc706")
    assert is_fpga("fpga:boards/mine.toml")
    assert not is_fpga("local")
    assert not is_fpga("./fpga.toml")
