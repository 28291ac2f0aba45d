"""The file formats that the program reads: how a whole one is made, what commands read it by."""

from __future__ import annotations

import base64
import bz2
import contextlib
import functools
import hashlib
import io
import json
import pickle
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from brpnas import plugins
from brpnas.cli._saved import predict_rows
from brpnas.datasets import Card, Table, importer, open_table, write_table
from brpnas.devices import profile
from brpnas.devices.fpga import platform
from brpnas.devices.fpga.device import open_fpga
from brpnas.devices.fpga.export import describe_design, read_design
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.mapping import Best
from brpnas.devices.fpga.network import Network
from brpnas.devices.fpga.platform import read_platform
from brpnas.devices.fpga.problem import Problem
from brpnas.devices.fpga.sources import ReadNetwork, read_network
from brpnas.devices.profile import read_profile
from brpnas.devices.store import Store
from brpnas.devices.timing import Round
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.images import read_image_set
from brpnas.lowrank import (
    Choice,
    Factors,
    Layers,
    apply_recipe,
    find_layers,
    read_recipe,
    replace,
    save_recipe,
)
from brpnas.measuring.choice import Networks, Wanted, choose_networks
from brpnas.measuring.computed import compute
from brpnas.measuring.session import TableSettings
from brpnas.models import load_model
from brpnas.predictors import (
    PREDICTORS,
    GCNRegressor,
    GCNSize,
    Provenance,
    load_predictor,
    save_predictor,
)
from brpnas.predictors._training import Training
from brpnas.resolver import parse_archs
from brpnas.run import Run, Step
from brpnas.spaces import NASBench201
from brpnas.testing import SyntheticEvaluator, synthetic_problem
from brpnas.testing.predictors import networks

SPACE = NASBench201()


@dataclass(frozen=True)
class Format:
    """A kind of file or folder.

    Attributes:
        make: writes a whole one into a folder, and returns the path that is read.
        read: what commands call; gets that path.
        seal: writes the hashes that are kept beside content again, so that damage gets past them.
        share: how many inputs there are of it, beside others' 1; less where reading takes long.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    seal: Callable[[Path], None] | None = None
    share: float = 1.0


@functools.cache
def _frame() -> pd.DataFrame:
    archs = synthetic_problem(12).pool
    frame = pd.DataFrame([one.metrics for one in SyntheticEvaluator().evaluate(archs)])
    frame.insert(0, "arch", list(map(str, archs)))
    return frame


def _table(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        card = Card(title="t", space=SPACE.name, columns={"latency_ms": "a note"})
        write_table(Table(_frame(), card), folder / name)
        return folder / name

    return make


def _read_table(path: Path) -> None:
    """What ``brpnas datasets describe``, ``train`` and ``predict`` do with one."""
    table = open_table(str(path))
    table.describe()
    table.intact()
    for metric in table.metrics:
        with contextlib.suppress(UserError):
            table.judged(metric)
    with contextlib.suppress(UserError):
        parse_archs(table, SPACE)
    write_table(table, path.with_name(f"copy{path.suffix}"))


def _predictor(name: str) -> Format:
    def make(folder: Path) -> Path:
        graphs, values = networks(12)
        made: Any = PREDICTORS[name].regressor
        if made is GCNRegressor:
            size, training = GCNSize(hidden=4, layers=1, members=2), Training(epochs=1)
            predictor = GCNRegressor(0, 0.1, size, training)
        else:
            predictor = made(0, 0.1)
        facts = Provenance("latency_ms", "t.parquet", "abc", 10, 2, 0)
        save_predictor(folder, predictor.fit(graphs, values), facts)
        return folder

    def read(folder: Path) -> None:
        predict_rows(load_predictor(folder), Table(_frame()[:3]))

    def seal(folder: Path) -> None:
        _put_hash(folder / "predictor.json", folder / "weights.safetensors")

    return Format(make, read, seal, share=0.6)


def _put_hash(description: Path, weights: Path) -> None:
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        content = json.loads(description.read_bytes())
        content["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        description.write_text(json.dumps(content))


_ASKED: dict[str, Any] = {"budget": 3, "table": "t.parquet", "limits": [["latency_ms", 5.0]]}


def _make_run(folder: Path) -> Path:
    with Run(folder, _ASKED, 7) as run:
        for number in range(3):
            metrics = {"accuracy_pct": number / 3, "latency_ms": float("nan")}
            run.append(Step(0, "random", f"arch {number}", metrics, "failed" if number else None))
    (folder / ".lock").unlink()
    return folder


def _read_run(folder: Path) -> None:
    with (
        mock.patch("brpnas.run._git_revision", return_value=None),
        Run(folder, _ASKED, 7, True) as run,
    ):
        run.append(Step(1, "top", "another", {"accuracy_pct": 1.0, "latency_ms": 1.0}))
        run.finish({"best": None})


@functools.cache
def _digits() -> tuple[nn.Module, Layers]:
    module = load_model("digits-cnn").module
    return module, find_layers(module, torch.zeros(1, 1, 8, 8))


def _make_recipe(folder: Path) -> Path:
    module, layers = _digits()
    chosen = {"features.3": Choice.parse("separable:r9"), "linear": Choice.parse("plain:r5")}
    compressed, report = replace(module, chosen, Factors(module, layers, "plain"))
    save_recipe(folder / "recipe.json", module, compressed, report, "plain", "digits-cnn")
    return folder / "recipe.json"


@functools.cache
def _net() -> Network:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    return network_of(model, torch.zeros(1, 3, 16, 16), "chain")


@functools.cache
def _design() -> str:
    return json.dumps(describe_design(Best().map(Problem(_net(), read_platform("zc706"), batch=1))))


def _make_design(folder: Path) -> Path:
    (folder / "design.json").write_text(_design())
    return folder / "design.json"


def _copy(source: Path) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / source.name).write_bytes(source.read_bytes())
        return folder / source.name

    return make


def _make_onnx(folder: Path) -> Path:
    import onnx

    text = (
        "g (float[1, 3, 8, 8] x) => (float[n, m] y) {"
        "a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w, b) r = Relu(a)"
        "p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r) s = Shape(p)"
        "first = Gather(s, zero) batch = Unsqueeze(first, zero1)"
        "sizes = Concat<axis = 0>(batch, m1)"
        "f = Reshape(p, sizes) y = Gemm<transB = 1>(f, v, c) }"
    )
    graph = onnx.parser.parse_graph(text)
    for name, dims in {"w": (4, 3, 3, 3), "b": (4,), "v": (10, 64), "c": (10,)}.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(dims, np.float32), name))
    for name, value in {"zero": np.array(0), "zero1": np.array([0]), "m1": np.array([-1])}.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.int64), name))
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx"


def _pixels(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _make_npz(folder: Path) -> Path:
    np.savez(folder / "images.npz", x=_pixels(4), y=np.arange(4))
    return folder / "images.npz"


def _make_image_folder(folder: Path) -> Path:
    for number, pixels in enumerate(_pixels(3)):
        (folder / f"{number % 2}").mkdir(exist_ok=True)
        (folder / f"{number % 2}" / f"{number}.png").write_bytes(_png(pixels))
    Image.fromarray(_pixels(1)[0]).save(folder / "1" / "a.jpg")
    Image.fromarray(_pixels(1)[0]).save(folder / "0" / "b.tiff")
    return folder


def _make_image_table(folder: Path) -> Path:
    images = [{"bytes": _png(one), "path": None} for one in _pixels(3)]
    table = pa.table({"image": pa.array(images), "label": pa.array([0, 1, 1])})
    pq.write_table(table, folder / "images.parquet")
    return folder / "images.parquet"


def _read_images(path: Path) -> None:
    images = read_image_set(path, channels=3, size=(8, 8))
    images.sample(2, 0)
    with contextlib.suppress(UserError):
        images.tensor(load_model("digits-cnn").normalisation)


def _make_weights(folder: Path) -> Path:
    save_file(_digits()[0].state_dict(), folder / "w.safetensors", {"made": "here"})
    return folder / "w.safetensors"


def _make_program(folder: Path) -> Path:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3, 8, 8),)), folder / "net.pt2")
    return folder / "net.pt2"


def _make_store(folder: Path) -> Path:
    with Store(folder / "s.sqlite") as store:
        series = store.series({"device": {"name": "x"}, "runs": "2"})
        for key in "ab":
            store.add_model(series, key, f"model {key}", sha256=key * 64, size=5, maker="me")
            for number in range(2):
                store.add_round(series, key, number, Round({"cpu_ms": (1.0, 2.0)}, {"celsius": 40}))
        store.add_failure(series, "c", "model c", "no")
    return folder / "s.sqlite"


def _read_store(path: Path) -> None:
    with Store(path) as store:
        for series in [*store.all_series(), store.series({"device": {"name": "x"}, "runs": "2"})]:
            for key in {*store.done(series), *store.failed(series), "a"}:
                store.record(series, key)
        store.add_round(series, "a", 9, Round({"cpu_ms": (1.0,)}))


def _measure(path: Path, resume: bool = True) -> None:
    nets = Networks({"chain": ReadNetwork("chain", _net())}, {}, "")
    settings = TableSettings(path.with_suffix(".csv"), resume, command="brpnas measure")
    ended = compute(nets, open_fpga("fpga:zc706"), InProcess(), settings)
    if ended.error:
        raise ended.error
    ended.summary()


def _make_measured(folder: Path) -> Path:
    _measure(folder / "t.sqlite", resume=False)
    return folder / "t.sqlite"


def _archs(path: Path) -> None:
    choose_networks(Wanted(space=SPACE, archs=path))


def _make_archs(folder: Path) -> Path:
    (folder / "cells.txt").write_text("\n".join(_frame()["arch"][:3]))
    return folder / "cells.txt"


_CELLS = list(_frame()["arch"][:3])


def _results(index: int) -> dict[str, Any]:
    """A training as NAS-Bench-201 and NATS-Bench write it."""
    run = {
        "epochs": 12,
        "params": 0.5,
        "flop": 40.0,
        "latency": [0.01, 0.03],
        "eval_acc1es": {"x-valid@0": 1.0, "x-valid@11": 50.0 + index},
    }
    return {"all_results": {("cifar10-valid", 777): run}}


def _import(name: str, write: Callable[[Path], Path], share: float = 1.0) -> Format:
    def read(path: Path) -> None:
        write_table(importer(name)(path), path.parent / "imported.csv")

    return Format(write, read, share=share)


def _pickled(content: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "published.pickle").write_bytes(pickle.dumps(content))
        return folder / "published.pickle"

    return make


def _make_nats(folder: Path) -> Path:
    inner = folder / "simple"
    inner.mkdir()
    (inner / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps({"meta_archs": _CELLS})))
    for index in range(2):
        content = pickle.dumps({"12": _results(index), "200": _results(index)})
        (inner / f"{index:06d}.pickle.pbz2").write_bytes(bz2.compress(content))
    return inner


def _make_201(folder: Path) -> Path:
    infos = {index: {"less": _results(index), "full": _results(index)} for index in range(2)}
    torch.save({"meta_archs": _CELLS, "arch2infos": infos}, folder / "file.pth")
    return folder / "file.pth"


def _make_help(folder: Path) -> Path:
    torch.save({cell: index for index, cell in enumerate(_CELLS)}, folder / "str_arch2idx.pt")
    torch.save([1.5, 2.5, 3.5], folder / "pixel2.pt")
    return folder


def _make_records(folder: Path) -> Path:
    evaluation = b"".join(bytes([n << 3 | 1]) + struct.pack("<d", n / 10) for n in (1, 2, 3, 4, 5))
    message = bytes([10, len(evaluation)]) + evaluation + bytes([16, 100])
    metrics = base64.b64encode(message).decode()
    operations = "input,conv3x3-bn-relu,conv1x1-bn-relu,output"
    text = json.dumps(["0" * 32, 108, "0110001000010000", operations, metrics]).encode()
    record = struct.pack("<Q", len(text)) + b"crc1" + text + b"crc2"
    (folder / "nasbench.tfrecord").write_bytes(record * 2)
    return folder / "nasbench.tfrecord"


def _make_fields(folder: Path) -> Path:
    one = {
        "module_adjacency": [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
        "module_operations": ["input", "conv3x3-bn-relu", "conv1x1-bn-relu", "output"],
        "trainable_parameters": 8_555_530,
        "training_time": 100.0,
        "validation_accuracy": 0.9,
        "test_accuracy": 0.9,
    }
    (folder / "nasbench.json").write_text(json.dumps([one, {**one, "epochs": 36}]))
    return folder / "nasbench.json"


def _make_101_columns(folder: Path) -> Path:
    frame = pd.DataFrame({"edge_bits": ["39"], "ops": ["01"], "valid_acc": [0.9]})
    frame.to_parquet(folder / "nasbench.parquet")
    return folder / "nasbench.parquet"


def _make_plugin(folder: Path) -> Path:
    info = folder / "some_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[brpnas.spaces]\nmine = json:JSONDecoder\n")
    (info / "RECORD").write_text("")
    return folder


@contextlib.contextmanager
def _installed(folder: Path) -> Iterator[None]:
    plugins._entry_points.cache_clear()
    try:
        with mock.patch.object(sys, "path", [str(folder)]):
            yield
    finally:
        plugins._entry_points.cache_clear()


def _read_plugin(folder: Path) -> None:
    built_in = {"nasbench201": "brpnas.spaces.nasbench201:NASBench201"}
    with _installed(folder):
        spaces = plugins.Registry("space", "brpnas.spaces", lambda _, found: found, built_in)
        assert spaces["nasbench201"] is NASBench201
        for name in spaces:
            spaces.package(name)


_PLATFORMS, _PROFILES = platform._FOLDER, profile._FOLDER
_HARDWARE = {
    "nasbench201": {
        "cifar10": {
            "config": [{"arch_str": cell} for cell in _CELLS],
            "edgegpu_latency": [1.0, 2.0, 3.0],
            "fpga_energy": [1.0, 2.0, 3.0],
        }
    }
}

FORMATS: dict[str, Format] = {
    "table.parquet": Format(_table("t.parquet"), _read_table),
    "table.csv": Format(_table("t.csv"), _read_table),
    **{
        f"predictor {name}": _predictor(name)
        for name in ("gcn", "gp", "trees", "mlp", "layerwise", "flops", "eagle")
    },
    "run folder": Format(_make_run, _read_run, share=2.0),
    "recipe": Format(
        _make_recipe,
        lambda path: apply_recipe(read_recipe(path), *_digits()),
        lambda folder: _put_hash(folder / "recipe.json", folder / "recipe.safetensors"),
    ),
    "design": Format(_make_design, read_design, share=0.5),
    "platform": Format(_copy(_PLATFORMS / "zc706.toml"), lambda path: read_platform(str(path))),
    "profile": Format(_copy(_PROFILES / "pixel4.toml"), lambda path: read_profile(str(path))),
    "ONNX": Format(_make_onnx, lambda path: read_network(str(path))),
    "images.npz": Format(_make_npz, _read_images),
    "images in folders": Format(_make_image_folder, _read_images),
    "images.parquet": Format(_make_image_table, _read_images),
    "weights": Format(_make_weights, lambda path: load_model("digits-cnn", path), share=0.5),
    "exported program": Format(_make_program, lambda path: load_model(str(path)), share=0.1),
    "store": Format(_make_store, _read_store),
    "store, measured on": Format(_make_measured, _measure, share=0.5),
    "networks": Format(_make_archs, _archs),
    "LatBench": _import("latbench", _pickled({(0, 1, 2, 3, 4, 0): 0.01, (1,) * 6: 0.02})),
    "HW-NAS-Bench": _import("hwnasbench", _pickled(_HARDWARE)),
    "NATS-Bench": _import("natsbench", _make_nats),
    "NAS-Bench-201": _import("nasbench201", _make_201),
    "HELP": _import("help", _make_help),
    "NAS-Bench-101 records": _import("nasbench101", _make_records),
    "NAS-Bench-101 fields": _import("nasbench101", _make_fields),
    "NAS-Bench-101 columns": _import("nasbench101", _make_101_columns),
    "plug-in": Format(_make_plugin, _read_plugin),
}
