from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brpnas.cli.fpga import _at_most
from brpnas.devices.fpga import COSTS, LAYERS, built_in_platforms, evaluate_layers, read_platform
from brpnas.devices.fpga.export import read_design
from brpnas.devices.fpga.foldings import Words
from brpnas.devices.fpga.mapping import OPTIMISERS
from brpnas.errors import UserError

KEYS = {
    *("feasible", "latency_s", "throughput_fps", "partitions", "interval_cycles", "resources"),
    *("limits", "wall_s"),
}
MODULE = """
import torch
from torch import nn

class Loud(nn.Sequential):
    def forward(self, x):
        print("running")
        return super().forward(x)

def small():
    print("made")
    return Loud(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3)), torch.zeros(1, 3, 12, 12)

def two():
    return nn.Bilinear(2, 2, 2), (torch.zeros(1, 2), torch.zeros(1, 2))

def unknown():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.LSTM(10, 2)), torch.zeros(1, 3, 12, 12)
"""


@pytest.fixture
def nets(shared: Path) -> Path:
    return shared / "fpga/nets"


_PLACES = itertools.count()


@pytest.fixture
def small(brpnas: Any) -> str:  # noqa: ARG001 - it sets the folder
    """A torch module of the user's, in a file that nothing has imported yet."""
    name = f"fpga_nets_{next(_PLACES)}"
    Path(f"{name}.py").write_text(MODULE)
    return f"{name}:small"


@pytest.fixture
def board(brpnas: Any) -> Callable[..., str]:  # noqa: ARG001 - it sets the folder
    """Writes a ZC706 with other resources."""

    def write(**resources: int) -> str:
        import brpnas.devices.fpga

        (package,) = brpnas.devices.fpga.__path__
        lines = (Path(package) / "platforms/zc706.toml").read_text().splitlines()
        for name, count in resources.items():
            lines = [f"{name} = {count}" if x.startswith(f"{name} =") else x for x in lines]
        Path("mine.toml").write_text("\n".join(lines))
        return "mine.toml"

    return write


def test_platforms(brpnas: Any) -> None:
    found = brpnas.json("fpga", "platforms")["platforms"]
    assert [board["name"] for board in found] == built_in_platforms()
    for board in found:
        assert board["resources"] == read_platform(board["name"]).resources
        assert board["clock_mhz"] == read_platform(board["name"]).clock_mhz
    text = brpnas("fpga", "platforms").stdout
    assert all(name in text for name in built_in_platforms())


def test_kinds_of_layers(brpnas: Any) -> None:
    found = {one["kind"]: one for one in brpnas.json("fpga", "layers")["kinds"]}
    assert list(found) == list(LAYERS)
    assert found["relu"]["columns"] == list(LAYERS["relu"].inputs)
    assert "block_floating_point" in found["convolution"]["optional"]
    assert "buffer_depth" in brpnas("fpga", "layers").stdout


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("exact", [True, False])
def test_a_table_of_layers(brpnas: Any, suffix: str, exact: bool) -> None:
    sizes = {"rows": 4, "cols": 5, "channels": 6, "filters": 8, "has_bias": 1, "mine": "x"}
    words = {"data_width": 16, "weight_width": 16, "acc_width": 30}
    table = pd.DataFrame({**sizes, **words, "coarse_in": [1, 2, 3], "coarse_out": [8, 4, 1]})
    if suffix == ".csv":
        table.to_csv("in.csv", index=False)
    else:
        table.to_parquet("in.parquet")
    words = ["--kind", "inner_product", "--table", f"in{suffix}", "--out", f"out{suffix}"]
    found = brpnas.json("fpga", "layers", *words, *["--reference-exact"] * exact)
    assert found == {
        **{"out": f"out{suffix}", "kind": "inner_product"},
        **{"rows": 3, "columns": list(COSTS)},
    }
    out = pd.read_csv("out.csv") if suffix == ".csv" else pd.read_parquet("out.parquet")
    assert list(out) == [*table, *COSTS]
    costs = evaluate_layers("inner_product", table, reference_exact=exact)
    assert (out[list(COSTS)] == costs).all(axis=None)
    assert out["mine"].tolist() == ["x"] * 3


def test_map(brpnas: Any, nets: Path) -> None:
    found = brpnas.json(
        *("fpga", "map", "--model", nets / "lenet.onnx", "--platform", "zc706"),
        *("--objective", "throughput", "--out", "d.json"),
    )
    assert set(found) == KEYS
    design = read_design(Path("d.json"))
    assert (design.problem.batch, design.problem.words) == (256, Words())
    assert not design.problem.reference_exact
    assert found["feasible"] is design.fits is True
    assert found["latency_s"] == design.seconds
    assert found["throughput_fps"] == design.frames_per_second == 256 / design.seconds
    assert found["partitions"] == len(design.parts)
    assert found["interval_cycles"] == max(part.costs.interval for part in design.parts)
    assert found["limits"] == {"DSP": 900, "BRAM": 1090, "LUT": 218_600, "FF": 437_200}
    assert set(found["resources"]) == set(found["limits"])
    assert all(found["resources"][name] <= found["limits"][name] for name in found["limits"])
    assert found["resources"]["DSP"] == max(part.costs.resources[0] for part in design.parts)


def test_map_for_people(brpnas: Any, nets: Path) -> None:
    result = brpnas(
        *("fpga", "map", "--model", nets / "resnet8.onnx", "--platform", "zcu104"),
        *("--out", "d.json", "--report", "r.html", "--fpgaconvnet", "f.json"),
    )
    design = read_design(Path("d.json"))
    assert (design.problem.batch, design.problem.platform.name) == (1, "zcu104")
    for node in design.problem.network.nodes:
        assert f" {node.name} " in result.stdout
    summary = result.stdout.splitlines()[-1]
    assert summary.startswith("resnet8 on zcu104 at 200 MHz: ")
    assert " of 96 URAM" in summary
    page = Path("r.html").read_text()
    assert "brpnas fpga map --model" in page
    assert "resnet8" in page
    (part, *_) = json.loads(Path("f.json").read_text())["partition"]
    assert part["layers"][0]["weights_path"]


def test_options_reach_the_problem(brpnas: Any, small: str) -> None:
    brpnas(
        *("fpga", "map", "--model", small, "--platform", "zcu104", "--objective", "throughput"),
        *("--batch", 5, "--word", "bfp8", "--margin", 0.25, "--reference-exact"),
        *("--optimiser", "rule", "--seed", 3, "--time-limit", 60, "--out", "d.json"),
    )
    problem = read_design(Path("d.json")).problem
    assert problem.words == Words(8, 8, 30, True)
    assert (problem.batch, problem.margin, problem.reference_exact) == (5, 0.25, True)
    assert problem.limits[0] == 1728 * 0.75


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser(brpnas: Any, small: str, optimiser: str) -> None:
    options = ["--platform", "zedboard", "--optimiser", optimiser, "--time-limit", 60]
    found = brpnas.json("fpga", "map", "--model", small, *options, "--out", "d.json")
    best = brpnas.json("fpga", "map", "--model", small, "--platform", "zedboard", "--out", "b.json")
    assert best["latency_s"] <= found["latency_s"] < 10 * best["latency_s"]


def test_a_torch_module_that_prints(brpnas: Any, small: str) -> None:
    result = brpnas(
        "fpga", "map", "--model", small, "--platform", "zc706", "--out", "d.json", "--json"
    )
    assert set(json.loads(result.stdout)) == KEYS
    assert "running" in result.stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"--platform": "zc70"}, "unknown platform 'zc70'. Did you mean 'zc706'? Choices: u200"),
        ({"--optimiser": "sa"}, "unknown optimiser 'sa'. Choices: best, rule, annealing, brute"),
        ({"--objective": "energy"}, "unknown objective 'energy'. Choices: latency, throughput"),
        ({"--word": "12"}, "unknown word '12'. Choices: 4, 8, 16, bfp4"),
        ({"--margin": "1"}, "--margin 1; accepted: from 0 to below 1"),
        ({"--margin": "-0.1"}, "--margin -0.1; accepted"),
        ({"--margin": "nan"}, "--margin nan; accepted"),
        ({"--batch": "0"}, "--batch 0; accepted: a whole number from 1"),
        ({"--batch": "2"}, "--batch 2 goes with --objective throughput"),
        ({"--time-limit": "0"}, "--time-limit 0; accepted: a number of seconds above 0"),
        ({"--time-limit": "nan"}, "--time-limit nan; accepted"),
        ({"--out": "no/d.json"}, "--out no/d.json: cannot be written: No such file"),
        ({"--out": "."}, "--out .: is a folder"),
        ({"--out": "design"}, "--out design: accepted is a file's name that ends in .json"),
        ({"--report": "d.json"}, "--report and --out are the same file: d.json"),
        ({"--fpgaconvnet": "no/f.json"}, "--fpgaconvnet no/f.json: cannot be written"),
        ({"--model": "net"}, "--model net: unknown kind; accepted"),
        ({"--model": "no.such:thing"}, "it cannot be imported: ModuleNotFoundError"),
        ({"--model": "NETS:two"}, "has 2 inputs; accepted"),
        ({"--model": "NETS:unknown"}, "layer '1', of type LSTM"),
        ({"--model": "absent.onnx"}, "absent.onnx: cannot be read: No such file"),
    ],
)
def test_errors(brpnas: Any, small: str, change: dict[str, str], reason: str) -> None:
    nets = small.partition(":")[0]
    options = {"--model": small, "--platform": "zc706", "--out": "d.json", **change}
    options["--model"] = options["--model"].replace("NETS", nets)
    # Options come before the work: not even the module has been imported where one is wrong.
    assert reason in brpnas.error(
        "fpga", "map", *(word for pair in options.items() for word in pair)
    )
    assert not Path("d.json").exists()
    if "--model" not in change:
        assert nets not in sys.modules


def test_what_is_read_is_never_written(brpnas: Any, nets: Path, board: Any) -> None:
    model, mine = Path("net.onnx"), Path(board())
    model.write_bytes((nets / "tiny_conv.onnx").read_bytes())
    before = model.read_bytes(), mine.read_bytes()
    Path("link.json").symlink_to(model)
    for option, path, reason in (
        ("--out", model, "--out and --model are the same file"),
        ("--report", mine, "--report and --platform are the same file"),
        ("--out", "link.json", "--out and --model are the same file"),
        ("--out", "/dev/null", "is a link or a device"),
        ("--out", "n" * 250, "the name is too long"),
    ):
        options = {"--model": model, "--platform": mine, "--out": "d.json", option: path}
        words = [word for pair in options.items() for word in pair]
        assert reason in brpnas.error("fpga", "map", *words)
    assert (model.read_bytes(), mine.read_bytes()) == before


@pytest.mark.parametrize("count", [0, -3])
def test_boards_that_are_none(brpnas: Any, small: str, board: Any, count: int) -> None:
    text = brpnas.error(
        *("fpga", "map", "--model", small, "--out", "d.json", "--platform", board(DSP=count))
    )
    assert f"mine.toml: 'resources.DSP' is {count}; accepted: a whole number from 1" in text


def test_what_does_not_fit_says_what_it_needs(brpnas: Any, nets: Path, board: Any) -> None:
    model = ("--model", nets / "resnet8.onnx", "--out", "d.json")
    text = brpnas.error("fpga", "map", *model, "--platform", board(LUT=800, BRAM=2))
    assert "'resnet8' does not fit on mine" in text
    assert " LUT of 800" in text
    assert "layer '" in text
    assert not Path("d.json").exists()


def test_bad_onnx(brpnas: Any, nets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (nets / "lenet.onnx").read_bytes()
    options = ("fpga", "map", "--platform", "zc706", "--out", "d.json", "--model", "bad.onnx")
    for content in (b"", b"hello", whole[: len(whole) // 2], bytes(1000)):
        Path("bad.onnx").write_bytes(content)
        assert "error: bad.onnx: not " in brpnas.error(*options)
    Path("bad.onnx").write_bytes(_renamed(whole, size="s"))
    text = brpnas.error(*options)
    assert "the size along axis 2 ('s') is not fixed" in text
    Path("bad.onnx").write_bytes(_renamed(whole, operation="LSTM"))
    assert "of type LSTM: an FPGA has no layer for it; accepted: Conv, " in brpnas.error(*options)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "extra 'onnx'" in brpnas.error(*options)


def _renamed(content: bytes, size: str = "", operation: str = "") -> bytes:
    """Return a model whose images are of any height, or whose first layer is another one."""
    from onnx import ModelProto

    model = ModelProto.FromString(content)
    if size:
        names = {tensor.name for tensor in model.graph.initializer}
        (image,) = [one for one in model.graph.input if one.name not in names]
        image.type.tensor_type.shape.dim[2].dim_param = size
    if operation:
        model.graph.node[0].op_type = operation
    return bytes(model.SerializeToString())


# An exception that a signal raises anywhere would leave locks of coverage's taken, so another
# process gets it.
PROGRAM = [sys.executable, "-c", "from brpnas.cli import main; main()"]


INTERRUPTED = (  # as by Ctrl-C, a second after what takes long was imported
    "import signal, brpnas.devices.fpga.mapping; "
    "signal.signal(signal.SIGALRM, signal.default_int_handler); "
    "signal.setitimer(signal.ITIMER_REAL, 1.0)"
)


def _mapping(nets: Path) -> list[str]:
    model = ("--model", str(nets / "mobilenetv1.onnx"), "--platform", "zcu104", "--out", "d.json")
    return [*PROGRAM, "fpga", "map", *model]


def test_the_time_limit_ends_cleanly(tmp_path: Path, nets: Path) -> None:
    asked = [*_mapping(nets), "--time-limit", "0.05"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no design within --time-limit 0.05" in done.stderr
    assert not list(tmp_path.glob("d.json*"))


def test_the_time_limit_leaves_no_alarm() -> None:
    with pytest.raises(UserError, match="no design within"), _at_most(OPTIMISERS["rule"](), 0.01):
        time.sleep(60)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_ctrl_c_ends_cleanly(tmp_path: Path, nets: Path) -> None:
    asked = [*_mapping(nets), "--optimiser", "brute"]
    asked[2] = f"{INTERRUPTED}; {asked[2]}"
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1)
    assert not list(tmp_path.glob("d.json*"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--kind", "conv"], "unknown kind of layer 'conv'"),
        (["--kind", "relu", "--out", "y.csv"], "--kind needs --table, the layers, and --out"),
        (["--kind", "relu", "--table", "x.csv", "--out", "y.txt"], "y.txt: unknown kind of table"),
        (["--kind", "relu", "--table", "x.csv", "--out", "no/y.csv"], "--out no/y.csv: cannot be"),
        (["--kind", "relu", "--table", "x.csv", "--out", "y.csv"], "relu layers, row 0: coarse is"),
        (["--kind", "pooling", "--table", "x.csv", "--out", "y.csv"], "'kernel_rows' is missing"),
        (
            ["--kind", "relu", "--table", "z.csv", "--out", "y.csv"],
            "z.csv: cannot be read: No such",
        ),
        (["--kind", "relu", "--table", "x.parquet", "--out", "y.csv"], "x.parquet: not a table"),
        (["--table", "x.csv"], "--table goes with --kind"),
        (["--reference-exact"], "--reference-exact goes with --kind"),
    ],
)
def test_errors_of_layers(brpnas: Any, words: list[str], reason: str) -> None:
    Path("x.csv").write_text("rows,cols,channels,coarse,data_width\n4,4,6,4,16\n")
    Path("x.parquet").write_text("no table")
    assert reason in brpnas.error("fpga", "layers", *words)
    assert not list(Path().glob("y.*"))
