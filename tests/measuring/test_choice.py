from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brpnas.devices.tflite.sources import ExportedModel, FileModel, FunctionModel, SpaceModel
from brpnas.errors import UserError
from brpnas.measuring import Wanted, choose_models
from brpnas.spaces import FiniteSpace, NASBench101, NASBench201, NetworkShape

SPACE = NASBench201()
SHAPE = NetworkShape(cells_per_stage=1)
CELL = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
DEAD = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|none~2|"
PLAIN = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


def _choose(**wanted: Any) -> Mapping[str, Any]:
    return choose_models(Wanted(**wanted), SHAPE).sources


def test_all_of_a_space_are_the_networks_that_differ_once_they_run() -> None:
    chosen = _choose(space=SPACE, everything=True)
    assert len(chosen) == len({source.key for source in chosen.values()})
    assert len(chosen) == 5260
    assert all(text == source.name for text, source in chosen.items())


def test_a_sample_is_drawn_by_its_seed() -> None:
    one, two, other = (list(_choose(space=SPACE, sample=20, seed=seed)) for seed in (0, 0, 1))
    assert len(set(one)) == 20
    assert one == two != other


def test_a_sample_that_is_too_large_is_refused() -> None:
    with pytest.raises(UserError, match="--sample 99999 is too large: space 'nasbench201' has"):
        _choose(space=SPACE, sample=99999)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".parquet"])
def test_named_cells_keep_their_text_and_share_what_runs_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cells{suffix}"
    if suffix == ".txt":
        path.write_text(f"{CELL}\n\n  {DEAD}\n{PLAIN}\n")
    elif suffix == ".csv":
        pd.DataFrame({"arch": [CELL, DEAD, PLAIN]}).to_csv(path, index=False)
    else:
        pd.DataFrame({"arch": [CELL, DEAD, PLAIN]}).to_parquet(path)
    chosen = _choose(space=SPACE, archs=path)
    assert list(chosen) == [CELL, DEAD, PLAIN]
    assert all(isinstance(source, SpaceModel) for source in chosen.values())
    assert chosen[DEAD].key == chosen[PLAIN].key


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no architecture in it"),
        (b"|nor_conv_3x3~0|\n", "line 1: malformed cell"),
        (f"{CELL}\n{CELL[:-2]}".encode(), "line 2: malformed cell"),
        (b"\xff\xfe", "cannot read"),
    ],
)
def test_a_bad_list_names_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cells.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"cells\.txt: {message}"):
        _choose(space=SPACE, archs=path)


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: cannot read"):
        _choose(space=SPACE, archs=tmp_path / "none.txt")


def test_models_are_known_by_their_ending(tmp_path: Path) -> None:
    names = (str(tmp_path / "a.tflite"), "b.pt2", "nets.small:make")
    chosen = _choose(models=names)
    kinds = [FileModel, ExportedModel, FunctionModel]
    assert [type(source) for source in chosen.values()] == kinds
    assert list(chosen) == list(names) == [source.name for source in chosen.values()]


def test_a_model_is_named_once_however_it_is_written() -> None:
    with pytest.raises(UserError, match=r"--model \./a\.tflite is given twice"):
        _choose(models=("a.tflite", "./a.tflite"))
    assert list(_choose(models=("one/a.tflite", "two/a.tflite"))) == [
        "one/a.tflite",
        "two/a.tflite",
    ]


@pytest.mark.parametrize(
    ("space", "text", "published"),
    [(SPACE, CELL, ("16", "5")), (NASBench101(), "1:", ("128", "3"))],
    ids=lambda value: getattr(value, "name", None),
)
def test_networks_have_their_published_size_unless_one_is_given(
    tmp_path: Path, space: FiniteSpace[Any], text: str, published: tuple[str, str]
) -> None:
    path = tmp_path / "cells.txt"
    path.write_text(text)
    wanted = Wanted(space=space, archs=path)
    models = choose_models(wanted)
    (source,) = models.sources.values()
    assert isinstance(source, SpaceModel)
    assert source.shape == space.shape
    assert (models.space, models.column) == (space.name, "arch")
    assert models.conditions == {
        "precision": "fp32",
        "converter": "auto",
        "space": space.name,
        "channels": published[0],
        "cells_per_stage": published[1],
        "input_size": "32",
    }
    other = choose_models(wanted, NetworkShape(channels=6, cells_per_stage=2, input_size=8))
    sizes = ("channels", "cells_per_stage", "input_size")
    assert [other.conditions[name] for name in sizes] == ["6", "2", "8"]


def test_only_torch_modules_are_converted() -> None:
    for names, converted in (
        (("a.tflite", "b.pt2"), False),
        (("a.tflite", "nets.small:make"), True),
    ):
        assert choose_models(Wanted(models=names)).converted is converted
    assert choose_models(Wanted(space=SPACE, sample=1)).converted


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "either --space or --model"),
        ({"space": SPACE, "models": ("a.tflite",)}, "--space and --model exclude each other"),
        ({"space": SPACE}, "--space needs one of"),
        ({"space": SPACE, "sample": 3, "everything": True}, "--space needs one of"),
        ({"models": ("a.tflite",), "everything": True}, "go with --space"),
        ({"models": ("a.tflite", "a.tflite")}, "given twice"),
        ({"models": ("a.onnx",)}, "--model a.onnx: unknown kind; accepted"),
    ],
)
def test_what_to_measure_has_to_be_clear(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _choose(**wanted)
