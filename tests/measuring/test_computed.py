from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brpnas.datasets import read_table
from brpnas.devices.fpga.device import FPGADevice, open_fpga
from brpnas.devices.fpga.network import Network, Node
from brpnas.devices.fpga.sources import ReadNetwork, SpaceNetwork
from brpnas.errors import UserError
from brpnas.executors import Executor, InProcess, Outcome
from brpnas.measuring import Ended, TableSettings, Wanted, choose_networks, compute
from brpnas.measuring.choice import Networks
from brpnas.spaces import NASBench201, NetworkShape

SMALL = NetworkShape(channels=4, cells_per_stage=1, input_size=8)
BOARD = open_fpga("fpga:zedboard")
Run = Callable[..., Ended]


def _chain(name: str, channels: int) -> ReadNetwork:
    """A convolution of 1 x 1."""
    window = dict.fromkeys(("kernel_rows", "kernel_cols", "stride_rows", "stride_cols"), 1)
    pads = dict.fromkeys(("pad_top", "pad_left", "pad_bottom", "pad_right"), 0)
    sizes = {"rows": 4, "cols": 4, "channels": channels, "filters": 4, "groups": 1, "has_bias": 0}
    node = Node("conv", "convolution", {**sizes, **window, **pads}, ("",), (4, 4, 4))
    return ReadNetwork(name, Network(name, (4, 4, channels), (node,)))


def _named(**channels: int) -> Networks:
    return Networks({name: _chain(name, count) for name, count in channels.items()}, {})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(networks: Networks, device: FPGADevice = BOARD, **more: Any) -> Ended:
        settings = TableSettings(tmp_path / "t.parquet", more.pop("resume", False), command="again")
        return compute(networks, device, more.pop("executor", InProcess(retries=0)), settings)

    return run


def test_networks_of_a_space(run: Run, tmp_path: Path) -> None:
    networks = choose_networks(Wanted(NASBench201(), sample=3), SMALL)
    ended = run(networks)
    assert ended.error is None
    assert ended.summary()["measured"] == 3
    table = read_table(tmp_path / "t.parquet")
    assert table.archs == list(networks.sources)
    for name, source in networks.sources.items():
        assert pickle.loads(pickle.dumps(source)).key == source.key  # it travels to workers
        row = table.frame.set_index("arch").loc[name]
        assert row["latency_ms"] == pytest.approx(BOARD.map(source()).seconds * 1000, abs=1e-6)
    assert table.card.title == "Latency on fpga:zedboard"
    assert table.card.source.startswith("computed")
    assert "model: physical" in table.card.device
    assert table.card.conditions == (
        "one image at a time; space: nasbench201; channels: 4; cells_per_stage: 1; input_size: 8"
    )
    assert (table.card.rebuild, table.card.space) == ("again", "nasbench201")
    assert set(table.card.columns) == set(table.metrics)


def test_what_cannot_be_mapped_has_a_reason_and_no_figures(run: Run, tmp_path: Path) -> None:
    ended = run(_named(a=4, large=1 << 30, b=8))
    assert (ended.summary()["measured"], ended.summary()["failed"]) == (2, 1)
    table = read_table(tmp_path / "t.parquet")
    assert np.isnan(table.metric("latency_ms")).tolist() == [False, True, False]
    assert "'large' does not fit on zedboard" in table.frame["error"][1]


class _Stopping(Executor):
    """Stops after so many items, as Ctrl-C does; counts them."""

    def __init__(self, after: int) -> None:
        self.after, self.done = after, 0

    def as_completed(
        self, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Outcome[Any]]]:
        for place, item in enumerate(items):
            if self.done == self.after:
                raise KeyboardInterrupt
            self.done += 1
            yield place, Outcome(function(item))


def test_a_stop_loses_nothing(run: Run, tmp_path: Path) -> None:
    networks = _named(a=4, b=8, c=16)
    with pytest.raises(KeyboardInterrupt, match="repeat the command with --resume"):
        run(networks, executor=_Stopping(2))
    assert not (tmp_path / "t.parquet").exists()
    rest = _Stopping(9)
    assert run(networks, executor=rest, resume=True).summary()["measured"] == 3
    assert rest.done == 1


def test_networks_of_later_commands_are_added(run: Run, tmp_path: Path) -> None:
    run(_named(a=4))
    ended = run(_named(b=8), resume=True)
    assert ended.earlier == 1
    assert sorted(read_table(tmp_path / "t.parquet").archs) == ["a", "b"]
    with pytest.raises(UserError, match=r"t\.sqlite is there already: add --resume"):
        run(_named(c=8))


def test_another_board_or_margin_is_refused(run: Run) -> None:
    run(_named(a=4))
    with pytest.raises(UserError, match=r"margin was '0', now '0\.1'; choose another --out"):
        run(_named(a=4), FPGADevice(BOARD.platform, margin=0.1), resume=True)
    with pytest.raises(UserError, match="not measured on device 'fpga:zc706'"):
        run(_named(a=4), open_fpga("fpga:zc706"), resume=True)


def _cells(folder: Path, *cells: str) -> Path:
    path = folder / "cells.txt"
    path.write_text("\n".join(cells))
    return path


def test_cells_that_run_alike_are_mapped_once(run: Run, tmp_path: Path) -> None:
    other = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    dead = "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
    again = dead.replace("nor_conv_3x3", "skip_connect")  # the writing that runs is a third
    networks = choose_networks(Wanted(NASBench201(), archs=_cells(tmp_path, dead, again)), SMALL)
    counted = _Stopping(9)
    run(networks, executor=counted)
    assert counted.done == 1
    run(choose_networks(Wanted(NASBench201(), archs=_cells(tmp_path, other)), SMALL), resume=True)
    table = read_table(tmp_path / "t.parquet")
    assert sorted(table.archs) == sorted([dead, other, again])
    latency = dict(zip(table.archs, table.metric("latency_ms"), strict=True))
    assert latency[dead] == latency[again] > 0


def test_models_are_onnx_files_or_functions(shared: Path) -> None:
    lenet = shared / "fpga" / "nets" / "lenet.onnx"
    networks = choose_networks(Wanted(models=(str(lenet),)))
    (source,) = networks.sources.values()
    assert (networks.column, source.name) == ("model", str(lenet))
    assert len(source().nodes) > 5
    assert len(source.key) == 64


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("a.tflite", "a.tflite: unknown kind; accepted for FPGAs: an .onnx file"),
        ("no.onnx", "no.onnx"),
        ("no_such_module:make", "it cannot be imported"),
    ],
)
def test_models_that_cannot_be_read(model: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_networks(Wanted(models=(model,)))


def test_a_network_is_known_by_its_layers_and_shape() -> None:
    cells = [SpaceNetwork(NASBench201(), "a"), SpaceNetwork(NASBench201(), "b"),
             SpaceNetwork(NASBench201(), "a", SMALL)]  # fmt: skip
    named = [_chain("x", 4), _chain("x", 8)]
    keys = [source.key for source in [*cells, *named]]
    assert len(set(keys)) == len(keys)
    assert _chain("x", 4).key == _chain("y", 4).key
