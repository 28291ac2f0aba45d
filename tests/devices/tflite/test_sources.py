from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from brpnas.devices.tflite import sources as module_under_test
from brpnas.devices.tflite.inspect import check, facts
from brpnas.devices.tflite.sources import (
    ExportedModel,
    FileModel,
    FunctionModel,
    ModelSource,
    SpaceModel,
)
from brpnas.devices.tflite.writer import write
from brpnas.errors import UserError
from brpnas.spaces import NASBench201, NetworkShape

ARCH = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
SMALL = NetworkShape(channels=4, cells_per_stage=1, input_size=8)
SPACE = SpaceModel(NASBench201(), ARCH, SMALL)

needs_litert_torch = pytest.mark.skipif(
    importlib.util.find_spec("litert_torch") is None, reason="needs the extra 'convert'"
)


def _interpreter(content: bytes) -> Any:
    return importlib.import_module("ai_edge_litert.interpreter").Interpreter(model_content=content)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(write(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8), "n").content)
    return path


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], FunctionModel]:
    """Writes a function's body into a module of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def function(body: str) -> FunctionModel:
        name = f"mine_{abs(hash(body))}"
        (tmp_path / f"{name}.py").write_text(
            "import torch\nfrom torch import nn\n"
            f"def make():\n    torch.manual_seed(0)\n    {body}\n"
        )
        return FunctionModel(f"{name}:make")

    module_under_test._called.cache_clear()
    return function


GOOD = "return nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)"


def test_a_space_model_is_the_same_every_time() -> None:
    state = torch.random.get_rng_state()
    model = SPACE()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    assert SPACE().content == model.content
    assert model.name == SPACE.name == ARCH
    assert facts(model.content, "m").inputs[0].shape == (1, 3, 8, 8)


def test_another_process_makes_the_same() -> None:
    code = (
        "import pickle, sys; source = pickle.loads(sys.stdin.buffer.read()); "
        "print(source.key, source().sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=pickle.dumps(SPACE),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().split() == [SPACE.key, SPACE().sha256]


def test_batch_norms_do_something() -> None:
    with_norms = SPACE()
    assert len(with_norms.content) > 4000
    torch.manual_seed(0)
    fresh = NASBench201().build(NASBench201().parse(ARCH), SMALL)
    plain = write(fresh, torch.zeros(1, 3, 8, 8), ARCH)
    # a fresh last batch-norm adds nothing and leaves its addition out
    assert facts(with_norms.content, "a").operators == facts(plain.content, "b").operators + 1


@pytest.mark.parametrize(
    "change",
    [
        {"arch": ARCH.replace("1x1", "3x3")},
        {"shape": NetworkShape()},
        {"precision": "int8"},
        {"converter": "litert-torch"},
    ],
)
def test_the_key_tells_what_is_measured(change: dict[str, Any]) -> None:
    other = dataclasses.replace(SPACE, **change)
    assert other.key != SPACE.key
    assert len(other.key) == 64


def test_the_key_changes_with_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SPACE.key
    monkeypatch.setattr("brpnas.__version__", "99")
    assert SPACE.key != before


def test_int8() -> None:
    model = dataclasses.replace(SPACE, precision="int8")()
    assert facts(model.content, "m").quantised
    assert "ai-edge-quantizer" in model.maker


def test_a_file(file: Path) -> None:
    source = FileModel(file)
    model = source()
    assert (model.name, model.maker, model.content) == (str(file), "file", file.read_bytes())
    assert source.key == model.sha256
    assert FileModel(file.rename(file.with_name("other.tflite"))).key == model.sha256


def test_a_file_as_int8(file: Path) -> None:
    source = FileModel(file, "int8")
    assert source.key != FileModel(file).key
    assert facts(source().content, "m").quantised


@pytest.mark.parametrize("kind", [FileModel, ExportedModel])
def test_a_file_travels_with_its_content(file: Path, kind: Callable[..., ModelSource]) -> None:
    source = kind(file)
    there = pickle.loads(pickle.dumps(source))
    file.unlink()
    assert there.key == source.key
    assert there == source
    if kind is FileModel:
        assert there().content == source().content
    else:
        with pytest.raises(UserError, match=r"net\.tflite: no exported torch program"):
            there()


def test_files_that_cannot_be_measured(tmp_path: Path, file: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.tflite: No such file"):
        FileModel(tmp_path / "none.tflite")()
    with pytest.raises(UserError, match="cannot read"):
        _ = FileModel(tmp_path / "none.tflite").key
    file.write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"net\.tflite' is no TFLite file"):
        FileModel(file)()


def test_an_exported_program_has_a_key_of_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    path.write_bytes(b"one")
    source = ExportedModel(path)
    before = source.key
    assert source.name == str(path)
    path.write_bytes(b"two")
    assert source.key == before  # read once: a sweep asks often
    assert ExportedModel(path).key != before
    with pytest.raises(UserError, match=r"a\.pt2: no exported torch program"):
        source()


def test_a_function(function: Callable[[str], FunctionModel]) -> None:
    source = function(GOOD)
    model = source()
    assert model.name == source.target
    assert facts(model.content, "m").outputs[0].shape == (1, 4, 6, 6)
    in_a_tuple = function("return nn.ReLU(), (torch.zeros(1, 3, 8, 8),)")
    assert facts(in_a_tuple().content, "m").operators == 3
    assert in_a_tuple.key != source.key


TWO = """class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(2, 4), nn.Linear(3, 4)
        def forward(self, x, y):
            return self.one(x).relu() + self.other(y)
    return Two(), (torch.ones(1, 2), torch.ones(1, 3))"""


@needs_litert_torch
@pytest.mark.parametrize("converter", ["auto", "litert-torch"])
def test_a_function_with_several_inputs(
    function: Callable[[str], FunctionModel], converter: str
) -> None:
    source = dataclasses.replace(function(TWO), converter=converter)
    module, inputs = module_under_test._called(source.target)
    module.train()
    model = source()
    assert module.training
    assert model.maker.startswith("litert-torch ")
    assert [one.shape for one in check(model.content, "m").inputs] == [(1, 2), (1, 3)]
    runner = _interpreter(model.content)
    runner.allocate_tensors()
    for entry, value in zip(runner.get_input_details(), inputs, strict=True):
        runner.set_tensor(entry["index"], value.numpy())
    runner.invoke()
    (output,) = runner.get_output_details()
    with torch.no_grad():
        expected = module(*inputs).numpy()
    assert runner.get_tensor(output["index"]) == pytest.approx(expected, abs=1e-6)


@needs_litert_torch
def test_an_exported_program_with_several_inputs(
    function: Callable[[str], FunctionModel], tmp_path: Path
) -> None:
    module, inputs = module_under_test._called(function(TWO).target)
    torch.export.save(torch.export.export(module.eval(), inputs), tmp_path / "two.pt2")
    model = ExportedModel(tmp_path / "two.pt2")()
    assert [one.shape for one in check(model.content, "m").inputs] == [(1, 2), (1, 3)]


def test_several_inputs_reach_litert_torch_or_the_error_says_so(
    function: Callable[[str], FunctionModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = function(TWO)
    with pytest.raises(UserError, match="has 2 inputs, and converter 'brpnas' writes models of"):
        dataclasses.replace(source, converter="brpnas")()
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(UserError, match="install brpnas with its extra 'convert'"):
        source()


def test_the_key_of_a_function_knows_the_shapes_and_types_of_its_inputs(
    function: Callable[[str], FunctionModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = function(TWO)
    module, (one, other) = module_under_test._called(source.target)
    keys = []
    for inputs in ((one, other), (one,), (other, one), (one.long(), other)):
        with monkeypatch.context() as patch:
            patch.setattr(module_under_test, "_called", lambda _, given=inputs: (module, given))
            keys.append(FunctionModel(source.target).key)
    assert keys[0] == source.key
    assert len(set(keys)) == 4


def test_the_key_of_a_function_knows_its_weights(
    function: Callable[[str], FunctionModel],
) -> None:
    source = function(GOOD)
    before = source.key
    module, _ = module_under_test._called(source.target)
    with torch.no_grad():
        next(module.parameters()).zero_()
    assert FunctionModel(source.target).key != before


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return nn.ReLU()", "returned a ReLU, not a pair"),
        ("return nn.ReLU(), 3", r"returned \(ReLU, int\), not a pair"),
        ("return 3, torch.zeros(1)", r"returned \(int, Tensor\), not a pair"),
        ("return nn.ReLU(), (torch.zeros(1), 3)", r"returned \(ReLU, Tensor and int\), not a pair"),
        ("return nn.ReLU(), ()", r"returned \(ReLU, no input\), not a pair"),
        (
            "return nn.Bilinear(2, 3, 4), (torch.zeros(1, 2), torch.zeros(1, 2))",
            r"cannot export it with example inputs of shapes \(1, 2\), \(1, 2\): .*",
        ),
        ("raise ValueError('two\\nlines')", "the function failed: ValueError: two lines"),
        ("import sys; sys.exit(3)", "the function failed: SystemExit: 3"),
        (
            "m = nn.ReLU(); m.forward = lambda x: exit(3); return m, torch.zeros(1)",
            "the module failed: SystemExit: 3",
        ),
    ],
)
def test_functions_that_fail(
    body: str, reason: str, function: Callable[[str], FunctionModel]
) -> None:
    with pytest.raises(UserError, match=reason):
        function(body)()


def test_weights_that_cannot_be_read_are_the_users_error(
    function: Callable[[str], FunctionModel],
) -> None:
    lazy = function("return nn.LazyConv2d(4, 3), torch.zeros(1, 3, 8, 8)")
    with pytest.raises(UserError, match="its weights cannot be read: "):
        _ = lazy.key


def test_what_users_code_prints_goes_to_stderr(
    function: Callable[[str], FunctionModel], capsys: pytest.CaptureFixture[str]
) -> None:
    source = function(
        "print('made'); m = nn.ReLU(); m.register_forward_hook(lambda *_: print('run')); "
        "return m, torch.zeros(1, 2)"
    )
    source()
    assert capsys.readouterr() == ("", "made\nrun\n")


def test_other_code_and_any_type_of_weights_make_another_model(
    function: Callable[[str], FunctionModel],
) -> None:
    net = "nn.Linear(2, 2, dtype=torch.bfloat16), torch.zeros(1, 2)"
    source = function(f"return {net}")
    before = source.key
    place = Path(f"{source.target.partition(':')[0]}.py")
    place.write_text(place.read_text() + "    # as a change of forward is\n")
    assert FunctionModel(source.target).key != before


def test_targets_that_do_not_exist(function: Callable[[str], FunctionModel]) -> None:
    source = function(GOOD)
    with pytest.raises(UserError, match="has no attribute 'other'"):
        FunctionModel(source.target.replace(":make", ":other"))()
    with pytest.raises(UserError, match="No module named 'no_such_module'"):
        FunctionModel("no_such_module:make")()
    for target in ("module", "module:", "a b:c", "module.py:make()", "../x:y"):
        with pytest.raises(UserError, match=r"not of the form package\.module:function"):
            FunctionModel(target)


def test_choices_are_listed(file: Path) -> None:
    makers: list[Callable[[], ModelSource]] = [
        lambda: SpaceModel(NASBench201(), ARCH, precision="int4"),
        lambda: FileModel(file, "int4"),
        lambda: ExportedModel(file, "int4"),
        lambda: FunctionModel("a:b", "int4"),
    ]
    for make in makers:
        with pytest.raises(UserError, match=r"unknown precision 'int4'.*Choices: fp32, int8"):
            make()
    with pytest.raises(UserError, match="unknown converter"):
        SpaceModel(NASBench201(), ARCH, converter="other")
